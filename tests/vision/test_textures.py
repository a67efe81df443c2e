"""Textures as data: splits, facts, options, and the textures themselves."""

import pytest
import torch
from PIL import Image

from dlpipe.errors import InputError
from dlpipe_vision.texture_drawing import TEXTURES
from dlpipe_vision.textures import textures


def small(**options):
    return textures(**{"size": 9, "train_size": 40, "test_size": 13, "dev_size": 10, **options})


def test_textures_have_the_expected_splits_and_facts():
    data = small(normalize="unit")

    assert {name: len(data.split(name)) for name in data.splits} == {"train": 30, "dev": 10, "test": 13}
    assert data.facts == {
        "image_shape": (3, 9, 9),
        "num_classes": 10,
        "labels": list(TEXTURES),
        "pixel_range": (0.0, 1.0),
    }
    assert data.split("train").columns["targets"].bincount().tolist() == [3] * 10


def test_the_same_parameters_give_the_same_images_and_another_seed_others():
    first, again, other = small(), small(), small(seed=1)

    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert first.split("test").columns["images"].equal(again.split("test").columns["images"])
    assert first.split("test").columns["targets"].equal(other.split("test").columns["targets"])


def test_the_first_images_do_not_depend_on_how_many_there_are():
    assert small(test_size=5).pictures("test", torch.arange(5)).equal(small().pictures("test", torch.arange(5)))


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("dev", "test"), ("train", "dev")])
def test_no_image_is_in_two_splits(split, other):
    exact, nearly = small().copies(split, other)

    assert not exact.any()
    assert not nearly.any()


def test_only_some_kinds_are_drawn_in_the_given_order():
    data = small(classes=["rings", "dots"])

    assert data.facts["labels"] == ["rings", "dots"]
    assert data.split("test").columns["targets"].tolist() == [0, 1] * 6 + [0]


def test_a_kind_that_is_named_twice_is_refused():
    with pytest.raises(InputError, match='"dots" occurs twice; name each once'):
        small(classes=["dots", "rings", "dots"])


@pytest.mark.parametrize("option", [{"normalize": "symmetric"}, {"noise": 0.5}, {"augment": {"noise": 0.5}}])
def test_options_of_images_change_the_input_of_the_model(option):
    def prepared(data):
        columns = data.split("train")
        return columns.prepare(columns.batch(torch.arange(3)), torch.Generator().manual_seed(0), "augment" in option)

    changed, plain = (prepared(small(**({"normalize": "unit"} | more)))["images"] for more in (option, {}))

    assert (changed - plain).abs().max() > 0.2


def test_the_grain_of_an_image_has_a_strength_of_its_own_and_is_in_all_splits():
    plain, grainy = small(), small(grain=0.2)

    for split in ("train", "dev", "test"):
        rows = torch.arange(10)
        noise = (grainy.pictures(split, rows).float() - plain.pictures(split, rows).float()) / 255
        strengths = noise.flatten(1).std(1)
        assert strengths.max() > 3 * strengths.min()
        assert strengths.max() < 0.25


def test_the_last_class_is_rarer_if_the_data_is_imbalanced():
    counts = small(imbalance=3.0).split("train").columns["targets"].bincount()

    assert counts.tolist()[:: len(counts) - 1] == [3, 1]


def test_a_picture_of_a_person_becomes_an_example(tmp_path):
    Image.new("RGB", (20, 20), (255, 0, 0)).save(tmp_path / "red.png")

    example = small(normalize="unit").encode(str(tmp_path / "red.png"))

    assert example["images"].shape == (3, 9, 9)
    assert example["images"][:, 4, 4].tolist() == [1.0, 0.0, 0.0]
