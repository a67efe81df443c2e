"""Digits that come with scikit-learn: what they are, and runs that learn them."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from dlpipe.check import load_pipeline
from dlpipe.execute import run
from dlpipe.inference import open_run, predict
from dlpipe.plugins import load_plugins
from dlpipe.testing import check_resume
from dlpipe_vision.digits import digits

PIPELINE = """
name = "digits"
seed = 1
device = "cpu"

[data]
use = "vision.digits"
limit = {limit}
{data}

[model]
use = "vision.mlp"
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


def test_there_are_digits_to_learn_from_and_digits_to_judge_by():
    pytest.importorskip("sklearn")
    made = digits(dev=100)

    sizes = [len(made.split(name)) for name in ("train", "dev", "test")]

    assert sizes == [1338, 100, 359]
    assert made.facts["image_shape"] == (1, 8, 8)
    counts = made.split("test").columns["targets"].bincount()
    assert counts.max() - counts.min() <= 3
    assert made.pictures("train", torch.arange(1338)).max() == 255


def test_a_trained_run_knows_a_picture_of_a_digit(write, tmp_path):
    folder = run(load_pipeline(write(), load_plugins()), load_plugins(), tmp_path / "runs")
    made = digits()
    row = int((made.split("test").columns["targets"] == 0).nonzero()[0])
    pixels = made.pictures("test", torch.tensor([row]))[0, 0].numpy()
    Image.fromarray(pixels).resize((40, 40)).save(tmp_path / "own.png")

    (answer,) = predict(open_run(folder.path), [("item 1", str(tmp_path / "own.png"))])

    assert answer["label"] == "0"
    assert "resized from 40×40 to 8×8" in answer["prepared"]


def test_a_run_with_augmentation_and_dropout_resumes_exactly(write, tmp_path):
    check_resume(write(data=AUGMENT, limit=90, batch_size=30), tmp_path / "runs", stops=(2, 4))
