"""``vision.cifar`` and ``vision.cifar10``: small color photographs in the binary files of CIFAR.

Source: A. Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
Format: one image after another, each with its label (CIFAR-100: coarse, then fine label) and 3×32×32 bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import torch

from dlpipe.data import Download, Files, fetch, open_files
from dlpipe.errors import DataError
from dlpipe.fields import NonNegativeFloat, OpenFraction, Positive
from dlpipe_vision.augment import Augment
from dlpipe_vision.image_files import Decoder, find_in_folders, read_images
from dlpipe_vision.image_sets import ImageSet, ImageSplits
from dlpipe_vision.labeled_images import LabeledImages, Normalize

Labels = Literal["fine", "coarse"]
SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
#: More than CIFAR takes unpacked (185 MB), and decoded if it comes as folders of classes in an archive.
MAX_BYTES = 1_000_000_000
#: The files do not say how many images they have, so one that was cut off shows only in the numbers.
NUM_IMAGES = {"train": 50_000, "test": 10_000}
PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
CIFAR10 = Download(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    size=170_052_171,
)
#: File names of the pickled version, which can run code when it is read.
PICKLED_NAMES = {"data_batch_1", "test_batch", "batches.meta", "train", "test", "meta"}


def cifar(
    *,
    path: Path | None = None,
    labels: Labels = "fine",
    dev_size: OpenFraction | Positive = 5000,
    limit: Positive | None = None,
    normalize: Normalize = "standardize",
    augment: Augment | None = None,
    noise: NonNegativeFloat = 0.0,
) -> LabeledImages:
    """Color photographs of 32×32 pixels in CIFAR's binary version, CIFAR-10 or CIFAR-100.

    Args:
        path: a folder with data_batch_1.bin … or train.bin, and test_batch.bin or test.bin; or a .tar.gz of it.
        labels: for CIFAR-100: "fine" for its 100 classes, "coarse" for its 20 superclasses.
        dev_size: how many training images to hold out as the dev split, or which share of them.
        limit: use at most this many of the remaining training images.
        normalize: "standardize" (mean 0, standard deviation 1 over the training images), "unit" (0 to 1),
            "symmetric" (-1 to 1), "none" (0 to 255) or statistics of
            pixels from 0 to 1 by channel: { mean = […], std = […] }.
        augment: random changes to training images, such as { flip = true, shift = 4 }.
        noise: standard deviation of the noise added to every pixel (0 to 1) of evaluation images.
    """
    if path is None:
        raise DataError("path is not set; give the folder or .tar.gz of CIFAR: --set data.path=DIR")
    source = path

    def read() -> ImageSplits:
        return read_binary(open_files(source, MAX_BYTES), labels)

    return LabeledImages(read, dev_size=dev_size, limit=limit, normalize=normalize, augment=augment, noise=noise)


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
) -> LabeledImages:
    """Color photographs of 32×32 pixels in ten classes (CIFAR-10): 50,000 for training and 10,000 for the test.

    Args:
        path: a folder or archive of the binary version (data_batch_1.bin …), or of train/CLASS/ and test/CLASS/.
        download: if `path` is not given, download the binary version once into the cache (170 MB, verified by sha256).
        dev_size: how many training images to hold out as the dev split, or which share of them.
        limit: use at most this many of the remaining training images.
        normalize: "standardize" (mean 0, standard deviation 1 over the training images), "unit" (0 to 1),
            "symmetric" (-1 to 1), "none" (0 to 255) or statistics of
            pixels from 0 to 1 by channel: { mean = […], std = […] }.
        augment: random changes to training images, such as { flip = true, shift = 4 }.
        noise: standard deviation of the noise added to every pixel (0 to 1) of evaluation images.
        offline: never access the network.
    """
    if path is None and not download:
        raise DataError(
            "path is not set; give the folder or archive of CIFAR-10 (--set data.path=DIR) "
            "or download it (--set data.download=true)"
        )

    def read() -> ImageSplits:
        files = open_files(path or fetch(CIFAR10, offline=offline), MAX_BYTES)
        if any(name.endswith(".bin") for name in files.sizes) or _is_pickled(files):
            return read_binary(files, "fine")
        return read_images(
            Decoder(files, None, "RGB"), find_in_folders(files), test_size=0, max_bytes=MAX_BYTES, skip=False
        )

    return LabeledImages(read, dev_size=dev_size, limit=limit, normalize=normalize, augment=augment, noise=noise)


def read_binary(files: Files, labels: Labels) -> ImageSplits:
    """Read all images of CIFAR-10 (files data_batch_*.bin) or CIFAR-100 (train.bin).

    Raises:
        DataError: files are missing or damaged, or are of the pickled version.
    """
    names = {PurePosixPath(name).name: name for name in sorted(files.sizes)}
    if batches := sorted(name for name in names if name.startswith("data_batch_") and name.endswith(".bin")):
        if labels == "coarse":
            raise DataError(f'labels = "coarse": {files.path} is CIFAR-10, which has no coarse labels; remove labels')
        parts, table, count, num_labels = {"train": batches, "test": ["test_batch.bin"]}, "batches.meta.txt", 10, 1
    elif "train.bin" in names:
        parts, table = {"train": ["train.bin"], "test": ["test.bin"]}, f"{labels}_label_names.txt"
        count, num_labels = (100 if labels == "fine" else 20), 2
    elif _is_pickled(files):
        raise DataError(
            f"{files.path}: this is the pickled version, which can run code when it is read; "
            f"get the binary version from {PAGE}"
        )
    else:
        raise DataError(
            f"{files.path}: it contains no data_batch_1.bin or train.bin; get the binary version from {PAGE}"
        )
    classes = _class_names(files, names[table], count) if table in names else [str(number) for number in range(count)]
    column = 1 if num_labels == 2 and labels == "fine" else 0
    sets = {
        split: _images(files, [names[name] for name in part], num_labels, column, count)
        for split, part in parts.items()
        if part[0] in names
    }
    for split, published in NUM_IMAGES.items():
        if (found := len(sets[split]) if split in sets else 0) != published:
            warnings.warn(
                f"{files.path}: {found:,} images for {split}; the published CIFAR has {published:,}, so a file is "
                "missing or was cut off, unless this is a part of it on purpose",
                stacklevel=2,
            )
    return ImageSplits(classes, sets)


def _is_pickled(files: Files) -> bool:
    return bool(PICKLED_NAMES & {PurePosixPath(name).name for name in files.sizes})


def _class_names(files: Files, name: str, count: int) -> list[str]:
    names = files.read(name).decode("utf-8", "replace").split()
    if len(names) != count or len(set(names)) != count:
        raise DataError(f"{files.path / name}: {len(set(names))} class names; expected {count}, one per line")
    return names


def _images(files: Files, names: Sequence[str], num_labels: int, column: int, count: int) -> ImageSet:
    """Read the images of one split.

    Args:
        num_labels: how many labels precede each image.
        column: which of them to use.
        count: labels run from 0 to count - 1.
    """
    parts = []
    for name in names:
        content = files.read(name)
        if not content or len(content) % (num_labels + PIXELS):
            raise DataError(
                f"{files.path / name}: {len(content):,} bytes; expected a multiple of {num_labels + PIXELS:,} "
                f"({num_labels} of labels and 3×32×32 of pixels per image). Download the file again"
            )
        part = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, num_labels + PIXELS)
        if (highest := int(part[:, column].max())) >= count:
            raise DataError(f"{files.path / name}: label {highest}; expected 0 to {count - 1}. Download the file again")
        parts.append(part)
    rows = torch.cat(parts)
    return ImageSet(rows[:, num_labels:].reshape(-1, *SHAPE), rows[:, column].long())
