"""Images that do not fit into memory are decoded once, and again only if they change."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlpipe_vision.image_files import image_folder

SIZE = (500, 400)  # five images exceed a megabyte


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Count what Pillow opens; the cache is empty, and the files changed long ago."""
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(time, "time_ns", lambda: 10**19)
    names, original = [], Image.open
    monkeypatch.setattr(Image, "open", lambda *given, **options: (names.append(1), original(*given, **options))[1])
    return names


@pytest.fixture
def folder(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(4):
            draw(tmp_path / "images" / label / f"{number}.bmp", number)
    return tmp_path / "images"


def draw(path, value, size=SIZE):
    Image.new("L", size, value).save(path)


def start(path, **options):
    """Do what a run does before its first step, and return what depends on the images."""
    data = image_folder(path=path, **{"resident_mb": 1, "test_size": 2, "dev_size": 1} | options)
    copies = [each.tolist() for each in data.copies("train", "test")]
    return data.facts, data.state(), data.fingerprint(), copies, [data.names(split) for split in data.splits]


def test_a_second_start_opens_no_image(folder, opened):
    first = start(folder)
    opened.clear()

    assert start(folder) == first
    assert opened == []


def test_a_second_start_reads_no_file(folder, opened, monkeypatch):
    read, original = [], Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *given, **options: (read.append(path.suffix), original(path, *given, **options))[1]
    )
    start(folder)
    assert read.count(".bmp") >= 8
    read.clear()
    start(folder)

    assert read.count(".bmp") == 0


def test_a_changed_image_is_seen_even_if_size_and_time_of_modification_are_the_same(folder, opened):
    first, path = start(folder), folder / "dog" / "2.bmp"
    before = path.stat()
    draw(path, 77)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    opened.clear()

    assert path.stat().st_size == before.st_size
    assert start(folder)[2] != first[2]
    assert 1 <= len(opened) <= 1 + 5  # the image, and those of the train split for its statistics


def test_new_and_deleted_images_are_seen(folder, opened):
    start(folder)
    draw(folder / "cat" / "new.bmp", 9)
    (folder / "dog" / "1.bmp").unlink()
    opened.clear()
    names = [name for split in start(folder)[4] for name in split]

    assert "cat/new.bmp" in names
    assert "dog/1.bmp" not in names
    assert len(opened) <= 1 + 5
    opened.clear()
    start(folder)
    assert opened == []


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-5], lambda content: b"[" * 10**5])
def test_a_damaged_manifest_is_rebuilt(folder, opened, damage):
    first = start(folder)
    for path in (folder.parent / "cache").glob("image*/*.json"):
        path.write_bytes(damage(path.read_bytes()))

    assert start(folder) == first
    opened.clear()
    start(folder)
    assert opened == []


def test_images_that_are_decoded_in_another_way_have_a_manifest_of_their_own(folder, opened):
    start(folder)

    assert start(folder, size=300, color="rgb")[0]["image_shape"] == (3, 300, 300)


def test_images_for_memory_are_decoded_although_they_are_known(folder, opened):
    facts = start(folder)[0]

    assert start(folder, resident_mb=100)[0] == facts
    data = image_folder(path=folder, resident_mb=100, test_size=2, dev_size=1, normalize="none")
    assert data.split("train").columns["images"].shape == (5, 1, 400, 500)


def test_an_image_that_becomes_unreadable_is_named_at_the_next_start(folder, opened):
    start(folder)
    (folder / "cat" / "3.bmp").write_bytes(b"no image")

    with pytest.raises(Exception, match=r"cat/3.bmp cannot be read as an image: unknown format.*repair it"):
        start(folder)


def test_equal_pixels_have_equal_keys_across_splits_that_are_known(folder, opened):
    for number in range(4):
        draw(folder / "dog" / f"{number}.bmp", 5)

    assert start(folder)[3] == start(folder)[3]
    assert any(start(folder)[3][0])


@pytest.mark.slow
def test_ten_thousand_images_are_opened_once(tmp_path, opened):
    generator = np.random.default_rng(0)
    for label in range(10):
        (tmp_path / "images" / str(label)).mkdir(parents=True)
        for number in range(1000):
            pixels = generator.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / str(label) / f"{number}.bmp")
    first = start(tmp_path / "images")

    assert len(opened) >= 10_000
    opened.clear()
    assert start(tmp_path / "images") == first
    assert opened == []
    assert torch.tensor(first[1]["mean"]) == pytest.approx(127.5, abs=1)
