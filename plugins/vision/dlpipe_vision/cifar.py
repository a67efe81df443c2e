"""``vision.cifar`` and ``vision.cifar10``: tiny colour photographs in the binary files of CIFAR.

Source: A. Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
Format: images one after another, each its label (CIFAR-100: the coarse, then the fine one) and 3×32×32 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import torch

from dlpipe.data import Download, fetch
from dlpipe.errors import DataError
from dlpipe.fields import NonNegativeFloat, OpenFraction, Positive
from dlpipe_vision.augment import Augment
from dlpipe_vision.file_store import Files, open_files
from dlpipe_vision.image_files import Decoder, in_folders, read_images
from dlpipe_vision.labelled_images import ImageSet, LabelledImages, Normalize, Reading

Labels = Literal["fine", "coarse"]
SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
#: More than all of CIFAR unpacked (185 MB) and, as class folders in an archive, decoded.
MOST = 1_000_000_000
PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
CIFAR10 = Download(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    size=170_052_171,
)
#: Names of the files of the form that runs code when it is read.
PICKLED = {"data_batch_1", "test_batch", "batches.meta", "train", "test", "meta"}


def cifar(
    *,
    path: Path | None = None,
    labels: Labels = "fine",
    dev_size: OpenFraction | Positive = 5000,
    limit: Positive | None = None,
    normalize: Normalize = "standardize",
    augment: Augment | None = None,
    noise: NonNegativeFloat = 0.0,
) -> LabelledImages:
    """Colour photographs of 32×32 pixels in CIFAR's binary form, CIFAR-10 or CIFAR-100.

    Args:
        path: a folder with data_batch_1.bin … or train.bin, and test_batch.bin or test.bin; or the .tar.gz of it.
        labels: of CIFAR-100: "fine" for its 100 classes, "coarse" for the 20 groups of them.
        dev_size: how many training images to hold out as the dev split, or which share of them.
        limit: use at most this many of the remaining training images.
        normalize: "standardize" (mean 0, standard deviation 1 over the training images), "unit" (0 to 1),
            "symmetric" (-1 to 1) or "none" (0 to 255).
        augment: random changes to training images, such as { flip = true, shift = 4 }.
        noise: standard deviation of the noise added to every pixel (0 to 1) of evaluation images.
    """
    if path is None:
        raise DataError("[data] vision.cifar has no path; give the folder or .tar.gz: --set data.path=DIR")
    source = path

    def read() -> Reading:
        return read_binary(open_files(source, MOST), labels)

    return LabelledImages(read, dev_size=dev_size, limit=limit, normalize=normalize, augment=augment, noise=noise)


def cifar10(
    *,
    path: Path | None = None,
    download: bool = False,
    dev_size: OpenFraction | Positive = 5000,
    limit: Positive | None = None,
    normalize: Normalize = "standardize",
    augment: Augment | None = None,
    noise: NonNegativeFloat = 0.0,
    offline: bool = False,
) -> LabelledImages:
    """Colour photographs of 32×32 pixels in ten classes (CIFAR-10), 50,000 to learn from and 10,000 to be judged by.

    Args:
        path: a folder or archive of the binary form (data_batch_1.bin …), or of train/CLASS/ and test/CLASS/.
        download: if `path` is not given, download the binary version once into the cache (170 MB, verified by sha256).
        dev_size: how many training images to hold out as the dev split, or which share of them.
        limit: use at most this many of the remaining training images.
        normalize: "standardize" (mean 0, standard deviation 1 over the training images), "unit" (0 to 1),
            "symmetric" (-1 to 1) or "none" (0 to 255).
        augment: random changes to training images, such as { flip = true, shift = 4 }.
        noise: standard deviation of the noise added to every pixel (0 to 1) of evaluation images.
        offline: never access the network.
    """
    if path is None and not download:
        raise DataError(
            "[data] vision.cifar10 has no path; give the folder or archive (--set data.path=DIR) "
            "or have it fetched (--set data.download=true)"
        )

    def read() -> Reading:
        files = open_files(path or fetch(CIFAR10, offline=offline), MOST)
        if any(name.endswith(".bin") for name in files.sizes) or _pickled(files):
            return read_binary(files, "fine")
        return read_images(Decoder(files, None, "RGB"), in_folders(files), test_size=0, most=MOST, skip=False)

    return LabelledImages(read, dev_size=dev_size, limit=limit, normalize=normalize, augment=augment, noise=noise)


def read_binary(files: Files, labels: Labels) -> Reading:
    """Read all images of CIFAR-10 (files data_batch_*.bin) or CIFAR-100 (train.bin).

    Raises:
        DataError: files are missing or damaged, or it is the pickled form.
    """
    names = {PurePosixPath(name).name: name for name in sorted(files.sizes)}
    if batches := sorted(name for name in names if name.startswith("data_batch_") and name.endswith(".bin")):
        if labels == "coarse":
            raise DataError(f'[data] labels = "coarse": {files.path} is CIFAR-10, which has one kind; remove the line')
        parts, table, count, before = {"train": batches, "test": ["test_batch.bin"]}, "batches.meta.txt", 10, 1
    elif "train.bin" in names:
        parts, table = {"train": ["train.bin"], "test": ["test.bin"]}, f"{labels}_label_names.txt"
        count, before = (100 if labels == "fine" else 20), 2
    elif _pickled(files):
        raise DataError(
            f"{files.path}: the pickled form, which could run code when it is read; get the binary version from {PAGE}"
        )
    else:
        raise DataError(f"{files.path}: no data_batch_1.bin or train.bin in it; get the binary version from {PAGE}")
    known = _class_names(files, names[table], count) if table in names else [str(number) for number in range(count)]
    column = 1 if before == 2 and labels == "fine" else 0
    sets = {
        split: _images(files, [names[name] for name in part], before, column, count)
        for split, part in parts.items()
        if part[0] in names
    }
    return Reading(known, sets)


def _pickled(files: Files) -> bool:
    return bool(PICKLED & {PurePosixPath(name).name for name in files.sizes})


def _class_names(files: Files, name: str, count: int) -> list[str]:
    found = files.read(name).decode("utf-8", "replace").split()
    if len(found) != count or len(set(found)) != count:
        raise DataError(f"{files.path / name}: {len(set(found))} names of classes; expected {count}, one on each line")
    return found


def _images(files: Files, names: Sequence[str], before: int, column: int, count: int) -> ImageSet:
    """Read the images of one split.

    Args:
        before: how many labels stand before each image.
        column: which of them to take.
        count: labels run from 0 to count - 1.
    """
    parts = []
    for name in names:
        content = files.read(name)
        if not content or len(content) % (before + PIXELS):
            raise DataError(
                f"{files.path / name}: {len(content):,} bytes; expected a multiple of {before + PIXELS:,} "
                f"({before} of labels and 3×32×32 of pixels for each image). Get it again"
            )
        part = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, before + PIXELS)
        if (highest := int(part[:, column].max())) >= count:
            raise DataError(f"{files.path / name}: label {highest}; expected 0 to {count - 1}. Get it again")
        parts.append(part)
    rows = torch.cat(parts)
    return ImageSet(rows[:, before:].reshape(-1, *SHAPE), rows[:, column].long())
