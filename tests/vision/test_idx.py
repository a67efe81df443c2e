"""IDX files: their contents, and every way they can be wrong."""

from __future__ import annotations

import gzip
import re
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlpipe.errors import DataError, InputError
from dlpipe_vision import idx as module
from dlpipe_vision.idx import idx, mnist, read_idx

PIXELS = bytes(range(2 * 3 * 4))


def packed(content, *shape, type_code=8):
    return bytes([0, 0, type_code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


IMAGES, TARGETS = packed(PIXELS, 2, 3, 4), packed(b"\x01\x00", 2)


@pytest.fixture
def folder(tmp_path):
    """Two training images of 3×4 pixels, no test."""
    (tmp_path / "train-images-idx3-ubyte").write_bytes(IMAGES)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(TARGETS, mtime=0))
    return tmp_path


def refused(folder, message, **options):
    with pytest.raises(DataError, match=re.escape(message)):
        idx(path=folder, dev_size=0, **options).split("train")


def test_images_and_labels_are_read_plain_or_compressed(folder):
    data = idx(path=folder, dev_size=0, labels=["coat", "shoe"])

    assert data.splits == ("train",)
    assert {name: data.facts[name] for name in ("image_shape", "num_classes", "labels")} == {
        "image_shape": (1, 3, 4),
        "num_classes": 2,
        "labels": ["coat", "shoe"],
    }
    assert data.pictures("train", torch.tensor([1]))[0, 0, 2].tolist() == [20, 21, 22, 23]
    assert data.split("train").columns["targets"].tolist() == [1, 0]


def test_a_name_of_two_classes_is_refused(folder):
    with pytest.raises(
        InputError, match=r'labels = \["coat", "coat"\]: "coat" occurs twice; give each class its own name'
    ):
        idx(path=folder, dev_size=0, labels=["coat", "coat"]).split("train")


def test_names_with_a_dot_are_found_and_classes_are_numbers_by_default(tmp_path):
    for split in ("train", "t10k"):
        (tmp_path / f"{split}-images.idx3-ubyte").write_bytes(IMAGES)
        (tmp_path / f"{split}-labels.idx1-ubyte").write_bytes(TARGETS)

    data = idx(path=tmp_path, dev_size=0)

    assert data.splits == ("train", "test")
    assert data.labels == ["0", "1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing; expected 00000803, an IDX file of bytes with 3 axes"),
        (packed(PIXELS, 2, 3, 4, type_code=9), "begins with 00000903; expected 00000803"),
        (TARGETS, "begins with 00000801; expected 00000803"),
        (IMAGES[:9], "its header gives the lengths [2, 0]; expected 3 lengths, all above 0"),
        (packed(b"", 0, 3, 4), "its header gives the lengths [0, 3, 4]; expected 3 lengths, all above 0"),
        (IMAGES[:-1], "23 bytes after the header; expected 24 (2×3×4)"),
        (IMAGES + b"x", "more than 24 bytes after the header; expected 24 (2×3×4)"),
        (packed(PIXELS, 2**32 - 1, 2**32 - 1, 4), "fewer bytes after the header; expected 73,786,976,260,478,"),
        (gzip.compress(IMAGES + bytes(10**6), mtime=0), "more than 24 bytes after the header"),
        (gzip.compress(IMAGES, mtime=0)[:-9], "cannot be read: Compressed file ended before"),
        (gzip.compress(IMAGES, mtime=0)[:10] + b"\xff" * 9, "cannot be read: Error -3"),
        (packed(PIXELS, 3, 2, 4), "2 labels; expected 3, one per image of train-images-idx3-ubyte"),
    ],
)
def test_a_damaged_file_is_refused_with_what_was_expected(folder, content, message):
    (folder / "train-images-idx3-ubyte").write_bytes(content)

    refused(folder, message)


def test_a_missing_file_is_named_with_all_names_that_are_accepted(folder):
    (folder / "train-images-idx3-ubyte").unlink()

    refused(
        folder,
        "it contains no train-images-idx3-ubyte; looked for train-images-idx3-ubyte, train-images-idx3-ubyte.gz,",
    )


def test_half_a_test_split_is_refused(folder):
    (folder / "t10k-labels-idx1-ubyte").write_bytes(TARGETS)

    refused(folder, "it contains no t10k-images-idx3-ubyte; looked for")


def test_a_label_beyond_the_classes_is_refused(folder):
    refused(folder, "label 1; expected 0 to 0, as there are 1 classes", labels=["coat"])


def test_test_images_of_another_size_are_refused(folder):
    (folder / "t10k-images-idx3-ubyte").write_bytes(packed(PIXELS, 2, 4, 3))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(TARGETS)

    refused(folder, "images of 3×4 pixels; expected 4×3, as in train-images-idx3-ubyte")


def test_each_downloaded_file_of_mnist_belongs_to_its_split(tmp_path, monkeypatch):
    def fetched(source, *, offline):
        name = source.url.rpartition("/")[2]
        count, first = (3, 1) if name.startswith("train") else (2, 7)
        images, labels = packed(bytes([first] * 12 * count), count, 3, 4), packed(bytes([first] * count), count)
        (tmp_path / name).write_bytes(images if "images" in name else labels)
        return tmp_path / name

    monkeypatch.setattr(module, "fetch", fetched)

    data = mnist(download=True, dev_size=0, normalize="none")

    for split, count, first in (("train", 3, 1), ("test", 2, 7)):
        columns = data.split(split).columns
        assert columns["targets"].tolist() == [first] * count
        assert columns["images"].unique().tolist() == [first]


def test_a_missing_path_is_refused_with_the_next_step(tmp_path, monkeypatch):
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path))

    with pytest.raises(DataError, match=r"path is not set; give the folder of the IDX files: --set data.path=DIR"):
        idx()
    with pytest.raises(
        DataError, match=r"path is not set; give the folder with the IDX files of MNIST .* \(--set data.download=true\)"
    ):
        mnist()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is missing and offline = true"):
        mnist(download=True, offline=True).split("train")


def test_any_bytes_are_read_or_refused(tmp_path):
    file = tmp_path / "any"

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(st.binary(max_size=40), st.sampled_from([b"", b"\0\0\x08\x03", b"\x1f\x8b\x08"]))
    def check(content, start):
        file.write_bytes(start + content)
        try:
            read_idx(file, 3)
        except DataError as error:
            assert str(error).startswith(str(file))

    check()


def test_mnist_has_the_published_sizes(real_data):
    data = mnist(path=real_data / "mnist", dev_size=0)

    assert {split: len(data.split(split)) for split in data.splits} == {"train": 60_000, "test": 10_000}
    assert data.split("train").columns["targets"][:5].tolist() == [5, 0, 4, 1, 9]


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_cut_anywhere_is_refused_or_complete(tmp_path, compressed):
    content = gzip.compress(IMAGES, mtime=0) if compressed else IMAGES
    for length in range(len(content)):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(DataError, match="cut"):
            read_idx(tmp_path / "cut", 3)
