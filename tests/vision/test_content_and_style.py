from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from dlpipe.errors import DataError, InputError
from dlpipe_vision.content_and_style import ContentAndStyle, read_square

SMALL = {"size": 12, "train_size": 9, "dev_size": 4, "test_size": 6}


def content_and_style(**options) -> ContentAndStyle:
    return ContentAndStyle(**{**SMALL, **options})


def keys(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


@pytest.fixture
def folder(tmp_path):
    """Ten pictures of 20 × 14 pixels; all pixels of each have the same value, in steps of 10."""
    for number in range(10):
        place = tmp_path / "pictures" / ("some" if number < 5 else "others")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 14), (10 * number,) * 3).save(place / f"{number}.png")
    return tmp_path / "pictures"


def test_drawn_pairs_have_images_from_0_to_1():
    data = content_and_style()

    split = data.split("train")
    batch = split.prepare(dict(split.columns), torch.Generator(), True)

    assert data.facts == {"image_shape": (3, 12, 12), "pixel_range": (0.0, 1.0)}
    assert {name: tuple(column.shape) for name, column in batch.items()} == {
        "images": (9, 3, 12, 12),
        "styles": (9, 3, 12, 12),
        "new_kinds": (9,),
    }
    for name in ("images", "styles"):
        assert 0.5 < batch[name].max() <= 1
        assert batch[name].min() >= 0


def test_no_image_is_in_two_splits_or_twice_in_one():
    data = content_and_style()

    for column in ("images", "styles"):
        found = [key for split in data.splits for key in keys(data.split(split).columns[column])]
        assert len(set(found)) == len(found) == 19


def test_half_of_the_styles_of_test_are_of_kinds_that_training_has_not(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "dlpipe_vision.content_and_style.draw_texture",
        lambda kind, size, generator: drawn.append(kind) or torch.zeros(3, size, size),
    )
    data = content_and_style(held_out_kinds=["dots", "weave", "rings"], train_size=20, dev_size=7, test_size=12)

    new = [data.split(split).columns["new_kinds"] for split in data.splits]

    assert [int(each.sum()) for each in new] == [0, 0, 6]
    held_out = {"dots", "weave", "rings"}
    assert set(drawn[:27]) & held_out == set()
    assert len(set(drawn[:20])) == 7
    assert [kind in held_out for kind in drawn[27:]] == new[2].tolist()
    assert set(drawn[27:]) > held_out


def test_without_held_out_kinds_all_kinds_are_known():
    data = content_and_style(held_out_kinds=[])

    assert not data.split("test").columns["new_kinds"].any()


def test_no_kind_is_left_for_training():
    with pytest.raises(InputError, match="held_out_kinds has all kinds of texture; leave some for training"):
        content_and_style(held_out_kinds=[*dict.fromkeys(ContentAndStyle()._kinds), "clouds", "cells"])


def test_a_folder_of_pictures_is_divided_into_splits(folder):
    data = content_and_style(content=folder, styles=folder, train_size=30, dev_size=5, test_size=3)

    values = {
        split: [{int(value) for value in data.split(split).columns[name].unique()} for name in ("images", "styles")]
        for split in data.splits
    }

    assert {split: len(data.split(split)) for split in data.splits} == {"train": 30, "dev": 1, "test": 3}
    assert "new_kinds" not in data.split("test").columns
    contents = [values[split][0] for split in data.splits]
    assert [len(each) for each in contents] == [7, 1, 2]
    assert set.union(*contents) == set(range(0, 100, 10))
    assert values["train"][0] == values["train"][1]


def test_pairs_of_two_folders_are_different(folder):
    data = content_and_style(content=folder, styles=folder, train_size=1000)
    columns = data.split("train").columns

    pairs = keys(torch.cat([columns["images"], columns["styles"]], 1))

    assert len(set(pairs)) == len(pairs) == 49


@pytest.mark.parametrize("side", ["content", "styles"])
def test_one_side_may_be_drawn(folder, side):
    columns = content_and_style(**{side: folder}).split("train").columns

    of_folder, drawn = (columns[name] for name in (("images", "styles") if side == "content" else ("styles", "images")))
    assert (of_folder.flatten(1).min(1).values == of_folder.flatten(1).max(1).values).all()
    assert len(set(keys(drawn))) == 9
    assert ("new_kinds" in columns) == (side == "content")


def test_a_picture_is_cropped_to_its_middle(tmp_path):
    pixels = np.zeros((6, 18, 3), np.uint8)
    pixels[:, 6:12] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")

    for name in ("wide.png", "deep.png"):
        square = read_square(tmp_path / name, 6)
        assert square.shape == (3, 6, 6)
        assert square.dtype is torch.uint8
        assert (square == 200).all()


def test_pairs_follow_from_the_seed():
    first, same, other = content_and_style(), content_and_style(), content_and_style(seed=1)

    for name in ("images", "styles"):
        assert first.split("dev").columns[name].equal(same.split("dev").columns[name])
        assert not first.split("dev").columns[name].equal(other.split("dev").columns[name])
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()


def test_the_fingerprint_changes_with_a_picture(folder):
    before = content_and_style(styles=folder).fingerprint()
    Image.new("RGB", (20, 14), (11, 12, 13)).save(folder / "some" / "3.png")

    assert content_and_style(styles=folder).fingerprint() != before


def test_a_folder_that_cannot_be_used_is_refused(tmp_path, folder):
    for path in sorted(folder.rglob("*.png"))[:8]:
        path.unlink()

    with pytest.raises(DataError, match=re.escape("none: no such folder; expected one of pictures")):
        content_and_style(content=tmp_path / "none").split("train")
    with pytest.raises(DataError, match="2 images; expected at least 3, one for each of train, dev, test; add some"):
        content_and_style(styles=folder).split("train")


def test_a_damaged_picture_is_named(folder):
    damaged = folder / "some" / "3.png"
    damaged.write_bytes(b"no picture")

    data = content_and_style(content=folder)
    (split,) = (split for split, files in data._in_folder(folder).items() if damaged in files)

    with pytest.raises(InputError, match=re.escape(f"{damaged} cannot be read as an image")):
        data.split(split)
