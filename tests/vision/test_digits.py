"""Digits that come with scikit-learn: their sizes and facts, and runs on them."""

from __future__ import annotations

import io
import struct

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.engine.inference import open_run
from dlpipe.engine.prediction import predict
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins
from dlpipe.serving.batcher import Item
from dlpipe.serving.model import ServedModel
from dlpipe.testing import check_resume
from dlpipe_vision.augment import noisy
from dlpipe_vision.digits import digits
from dlpipe_vision.labeled_images import permute_pixels

PIPELINE = """
name = "digits"
seed = 1
device = "cpu"

[data]
use = "vision.digits"
limit = {limit}
{data}

[model]
use = "core.mlp"
hidden = [32]
dropout = 0.1

[trainer]
use = "core.supervised"
epochs = 2
batch_size = {batch_size}
optimizer = {{ use = "adam", lr = 1e-2 }}
"""
AUGMENT = "augment = { rotate = 9, scale = 0.1, shift = 1, flip = true, crop = 1, erase = 0.5, noise = 0.1 }"


@pytest.fixture
def write(tmp_path):
    pytest.importorskip("sklearn")

    def write(**values):
        file = tmp_path / "digits.toml"
        file.write_text(PIPELINE.format(**{"limit": 1000, "data": "", "batch_size": 20, **values}))
        return file

    return write


def test_digits_have_the_expected_splits_and_facts():
    pytest.importorskip("sklearn")
    made = digits(dev_size=100)

    sizes = [len(made.split(name)) for name in ("train", "dev", "test")]

    assert sizes == [1338, 100, 359]
    black, white = made.facts.pop("pixel_range")
    assert black < 0 < 1 < white  # standardized, and mostly dark
    assert {name: made.facts[name] for name in ("image_shape", "num_classes", "labels")} == {
        "image_shape": (1, 8, 8),
        "num_classes": 10,
        "labels": list("0123456789"),
    }
    counts = made.split("test").columns["targets"].bincount()
    assert counts.max() - counts.min() <= 3
    assert made.pictures("train", torch.arange(1338)).max() == 255


@pytest.fixture
def folder(tmp_path):
    """Twenty training and twenty test images of 2×5 pixels in IDX files."""
    pixels, targets = bytes(range(200)), bytes(range(10)) * 2
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 20, 2, 5) + pixels)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 20) + targets)
    return tmp_path


def prepared(data, split, *, training=False):
    """Return the images of a split as the input of a model."""
    columns = data.split(split)
    batch = columns.batch(torch.arange(len(columns)))
    return columns.prepare(batch, torch.Generator().manual_seed(0), training)["images"]


def test_a_folder_is_read_instead_and_its_images_are_unchanged_by_default(folder):
    data = digits(path=folder, normalize="none")

    assert data.facts["image_shape"] == (1, 2, 5)
    assert len(data.split("dev")) == 2  # a tenth
    assert prepared(data, "test").flatten().tolist() == list(range(200))
    assert prepared(data, "train", training=True).flatten().unique().numel() == 180


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"noise": 0.5}, lambda images: noisy(images, 0.5, torch.Generator().manual_seed(0))),
        ({"shuffle_pixels": True}, permute_pixels),
        ({"normalize": "symmetric"}, lambda images: images * 2 - 1),
    ],
    ids=["noise", "shuffle_pixels", "normalize"],
)
def test_options_change_evaluation_images(folder, options, change):
    images = prepared(digits(path=folder, normalize="unit"), "test")

    result = prepared(digits(path=folder, **{"normalize": "unit", **options}), "test")

    assert_close(result, change(images))


def test_statistics_can_be_given_for_pixels_from_0_to_1(folder):
    images = prepared(digits(path=folder, normalize="unit"), "test")

    result = prepared(digits(path=folder, normalize={"mean": [0.3], "std": [0.2]}), "test")

    assert_close(result, (images - 0.3) / 0.2)


def test_statistics_of_other_channels_are_refused(folder):
    with pytest.raises(InputError, match=r"normalize.mean = \[0.3, 0.1\]: expected one number for each channel: 1"):
        prepared(digits(path=folder, normalize={"mean": [0.3, 0.1], "std": [0.2]}), "test")


def test_only_some_classes_are_used_in_the_given_order():
    every, some = digits(dev_size=0), digits(classes=[7, 2], dev_size=0)

    split, whole = some.split("test").columns, every.split("test").columns
    chosen = (whole["targets"] == 7) | (whole["targets"] == 2)

    assert some.facts["labels"] == ["7", "2"]
    assert split["images"].equal(whole["images"][chosen])
    assert split["targets"].equal((whole["targets"][chosen] == 2).long())


def test_a_class_that_is_named_twice_is_refused():
    with pytest.raises(InputError, match=r"classes = \[3, 3\]: 3 occurs twice; name each once"):
        digits(classes=[3, 3]).split("train")


def test_augmentation_and_limit_change_training_images(folder):
    data = digits(path=folder, dev_size=0, limit=12, normalize="unit", augment={"erase": 1.0})

    assert len(data.split("train")) == 12
    assert (prepared(data, "train", training=True)[1:] == 0).flatten(1).any(1).all()


def test_a_trained_run_recognizes_a_picture_of_a_digit(write, tmp_path):
    folder = run(load_pipeline(write(), load_plugins()), load_plugins(), tmp_path / "runs")
    made = digits()
    row = int((made.split("test").columns["targets"] == 0).nonzero()[0])
    pixels = made.pictures("test", torch.tensor([row]))[0, 0].numpy()
    Image.fromarray(pixels).resize((40, 40)).save(tmp_path / "own.png")

    (answer,) = predict(open_run(folder.path), [("item 1", str(tmp_path / "own.png"))])

    assert answer["label"] == "0"
    assert "resized from 40×40 to 8×8" in answer["prepared"]


def test_pictures_with_the_same_name_keep_their_own_notes(write, tmp_path):
    folder = run(load_pipeline(write(limit=40), load_plugins()), load_plugins(), tmp_path / "runs", fast=True)
    uploads = []
    for size in (20, 8, 30):
        Image.new("L", (size, size)).save(content := io.BytesIO(), "png")
        uploads.append(Item("upload", content.getvalue()))

    answers = ServedModel(open_run(folder.path)).answers(uploads)

    resized = [[note for note in answer["prepared"] if "resized" in note] for answer in answers]
    assert resized == [["resized from 20×20 to 8×8"], [], ["resized from 30×30 to 8×8"]]


def test_a_run_with_augmentation_and_dropout_resumes_exactly(write, tmp_path):
    check_resume(write(data=AUGMENT, limit=90, batch_size=30), tmp_path / "runs", stops=(2, 4))
