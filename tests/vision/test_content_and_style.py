from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlpipe.errors import DataError, InputError
from dlpipe_vision.content_and_style import ContentAndStyle, _divided, read_square

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


def values_of(data):
    """Return the grey values of the contents of each split."""
    return {split: {int(value) for value in data.split(split).columns["images"].unique()} for split in data.splits}


def of(folder, **options):
    return content_and_style(**{"content": folder, "styles": folder, "dev_size": 99, "test_size": 99, **options})


def test_a_folder_of_pictures_is_divided_into_splits(folder):
    data = of(folder, train_size=20)

    contents = values_of(data)
    assert len(data.split("train")) == 20
    assert "new_kinds" not in data.split("test").columns
    assert sum(map(len, contents.values())) == 10
    assert set.union(*contents.values()) == set(range(0, 100, 10))


def test_the_splits_have_their_shares_of_many_files():
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(256)]

    parts = _divided({digest: Path(digest) for digest in digests})

    assert len(parts["dev"]) == pytest.approx(25.6, abs=10)
    assert len(parts["test"]) == pytest.approx(51.2, abs=13)
    assert sorted(str(file) for part in parts.values() for file in part) == sorted(digests)


@pytest.mark.parametrize("first", ["0", "5", "f"])
def test_no_split_is_empty(first):
    parts = _divided({f"{first}{number:07x}": Path(str(number)) for number in range(3)})

    assert [len(parts[split]) for split in ("train", "dev", "test")] == [1, 1, 1]


def test_a_picture_stays_in_its_split_wherever_it_is_and_whatever_is_added(tmp_path, folder):
    for number in range(10, 40):  # with so many, no split would be empty, which pictures of others would have to fill
        Image.new("RGB", (9, 9), (number, 0, 200)).save(folder / f"{number}.png")
    before = of(folder).fingerprint(), _names(of(folder))
    folder = folder.rename(tmp_path / "moved")
    assert (of(folder).fingerprint(), _names(of(folder))) == before

    for number in range(20):
        Image.new("RGB", (9, 9), (0, number, 100)).save(folder / f"added{number}.png")

    after = _names(of(folder))
    assert all(names <= after[split] for split, names in before[1].items())


def _names(data):
    return {split: {file.name for file in files} for split, files in data._in_folder(data._content).items()}


def test_copies_of_a_picture_count_once(folder):
    before = values_of(of(folder))
    for number in range(10):
        source = next(folder.rglob(f"{number}.png"))
        shutil.copy(source, folder / f"copy{number}.png")

    data = of(folder)

    assert values_of(data) == before
    assert sum(map(len, data._in_folder(folder).values())) == 10


def test_pairs_of_two_folders_are_different(folder):
    with pytest.warns(
        UserWarning,
        match=r"train_size = 1000: the training pictures of the folders make only \d+ different pairs; add pictures",
    ) as told:
        columns = of(folder, train_size=1000).split("train").columns

    pairs = keys(torch.cat([columns["images"], columns["styles"]], 1))
    assert f"only {len(pairs)} different" in str(told[0].message)
    assert len(set(pairs)) == len(pairs) == len(set(keys(columns["images"]))) ** 2


def test_a_single_pair_is_called_so(folder):
    for path in sorted(folder.rglob("*.png"))[3:]:
        path.unlink()

    with pytest.warns(UserWarning, match=r"train_size = 9: .* make only 1 different pair; add pictures for more"):
        assert len(of(folder).split("train")) == 1


def test_only_pictures_that_are_needed_are_read_and_each_once(monkeypatch, folder):
    read = []
    monkeypatch.setattr(
        "dlpipe_vision.content_and_style.read_square", lambda file, size: read.append(file) or read_square(file, size)
    )

    content_and_style(content=folder, train_size=2).split("train")
    assert len(read) <= 2
    read.clear()
    content_and_style(content=folder, train_size=50).split("train")
    assert len(read) == len(set(read)) <= 10


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
    with pytest.raises(
        DataError, match="2 different images; expected at least 3, one for each of train, dev, test; add some"
    ):
        content_and_style(styles=folder).split("train")


def test_a_damaged_picture_is_named(folder):
    damaged = folder / "some" / "3.png"
    damaged.write_bytes(b"no picture")

    data = content_and_style(content=folder)
    (split,) = (split for split, files in data._in_folder(folder).items() if damaged in files)

    with pytest.raises(InputError, match=re.escape(f"{damaged} cannot be read as an image")):
        data.split(split)
