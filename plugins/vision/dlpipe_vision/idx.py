"""``vision.idx`` and ``vision.mnist``: images and labels in the IDX files of MNIST and its family.

Format: Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits": two zero bytes, the type
of number (8, unsigned bytes), how many axes, the length of each (four bytes, big-endian), then the values.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from dlpipe.data import Download, fetch
from dlpipe.errors import DataError, InputError
from dlpipe.fields import NonNegativeFloat, OpenFraction, Positive
from dlpipe.messages import shown
from dlpipe_vision.augment import Augment
from dlpipe_vision.image_sets import ImageSet, ImageSplits
from dlpipe_vision.labeled_images import LabeledImages, Normalize

#: How the file names of a split begin.
PREFIXES = {"train": "train", "test": "t10k"}
#: Number of axes of a file of images (N, H, W) and of a file of labels (N,).
IMAGES, LABELS = 3, 1
GZIP = b"\x1f\x8b"
#: Deflate compresses at most this many bytes into one.
MAX_DEFLATE_RATIO = 1032
_MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist"
MNIST = {
    name: Download(f"{_MIRROR}/{name}-ubyte.gz", sha256=sha256, size=size)
    for name, sha256, size in (
        ("train-images-idx3", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422),
        ("train-labels-idx1", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881),
        ("t10k-images-idx3", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877),
        ("t10k-labels-idx1", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542),
    )
}


def idx(
    *,
    path: Path | None = None,
    labels: Sequence[str] | None = None,
    dev_size: OpenFraction | Positive = 0.1,
    limit: Positive | None = None,
    normalize: Normalize = "standardize",
    augment: Augment | None = None,
    noise: NonNegativeFloat = 0.0,
) -> LabeledImages:
    """Grey images from a folder of IDX files, the format of MNIST and Fashion-MNIST.

    Args:
        path: a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and, for test, the same with t10k;
            each may end in .gz.
        labels: the name of each class; by default their numbers.
        dev_size: how many training images to hold out as the dev split, or which share of them.
        limit: use at most this many of the remaining training images.
        normalize: "standardize" (mean 0, standard deviation 1 over the training images), "unit" (0 to 1),
            "symmetric" (-1 to 1), "none" (0 to 255) or statistics of pixels from 0 to 1 by
            channel: { mean = […], std = […] }.
        augment: random changes to training images, such as { rotate = 15, shift = 1 }.
        noise: standard deviation of the noise added to every pixel (0 to 1) of evaluation images.
    """
    if path is None:
        raise DataError("path is not set; give the folder of the IDX files: --set data.path=DIR")
    folder = path

    def read() -> ImageSplits:
        return read_folder(find_files(folder), labels)

    return LabeledImages(read, dev_size=dev_size, limit=limit, normalize=normalize, augment=augment, noise=noise)


def mnist(
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
    """Handwritten digits of 28×28 grey pixels (MNIST): 60,000 for training and 10,000 for the test.

    Args:
        path: a folder with its four IDX files, each of which may end in .gz.
        download: if `path` is not given, download them once into the cache (12 MB, verified by sha256).
        dev_size: how many training images to hold out as the dev split, or which share of them.
        limit: use at most this many of the remaining training images.
        normalize: "standardize" (mean 0, standard deviation 1 over the training images), "unit" (0 to 1),
            "symmetric" (-1 to 1), "none" (0 to 255) or statistics of pixels from 0 to 1 by
            channel: { mean = […], std = […] }.
        augment: random changes to training images, such as { rotate = 15, shift = 1 }.
        noise: standard deviation of the noise added to every pixel (0 to 1) of evaluation images.
        offline: never access the network.
    """
    if path is None and not download:
        raise DataError(
            "path is not set; give the folder with the IDX files of MNIST (--set data.path=DIR) "
            "or download them (--set data.download=true)"
        )

    read = partial(read_mnist, path, offline=offline)
    return LabeledImages(read, dev_size=dev_size, limit=limit, normalize=normalize, augment=augment, noise=noise)


def read_mnist(path: Path | None, *, offline: bool = False) -> ImageSplits:
    """Read MNIST from a folder, or download it into the cache and read it from there."""
    if path is not None:
        files = find_files(path)
    else:
        found = {name: fetch(source, offline=offline) for name, source in MNIST.items()}
        files = {s: (found[f"{p}-images-idx3"], found[f"{p}-labels-idx1"]) for s, p in PREFIXES.items()}
    return read_folder(files, [str(digit) for digit in range(10)])


def find_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Find images and labels of "train" and, if it exists, "test".

    Raises:
        DataError: a file is missing; the test split must be complete or absent.
    """
    found = {}
    for split, prefix in PREFIXES.items():
        candidates = [_names(prefix, content, axes) for content, axes in (("images", IMAGES), ("labels", LABELS))]
        files = [next((folder / name for name in names if (folder / name).is_file()), None) for names in candidates]
        if split == "test" and files == [None, None]:
            continue
        for file, names in zip(files, candidates, strict=True):
            if file is None:
                raise DataError(f"{folder}: it contains no {names[0]}; looked for {', '.join(names)}. Add one of them")
        found[split] = (files[0], files[1])
    return found  # type: ignore[return-value]  # None was refused above


def read_folder(files: Mapping[str, tuple[Path, Path]], labels: Sequence[str] | None) -> ImageSplits:
    """Read the images and labels of all splits.

    Args:
        files: images and labels by split.
        labels: the name of each class; if None, their numbers, as many as the training labels need.

    Raises:
        DataError: a file is damaged, or does not fit another.
        InputError: two classes have the same name.
    """
    if labels is not None and (doubled := [label for label in labels if labels.count(label) > 1]):
        raise InputError(
            f"labels = {shown(list(labels))}: {shown(doubled[0])} occurs twice; give each class its own name"
        )
    sets = {split: _read_split(*pair) for split, pair in files.items()}
    names = labels or [str(number) for number in range(int(sets["train"].targets.max()) + 1)]
    for split, images in sets.items():
        if (highest := int(images.targets.max())) >= len(names):
            raise DataError(
                f"{files[split][1]}: label {highest}; expected 0 to {len(names) - 1}, as there are {len(names)} "
                "classes. List all of them in labels, or use another file"
            )
        if (shape := images.images[0].shape) != (train := sets["train"].images[0].shape):
            raise DataError(
                f"{files[split][0]}: images of {shape[2]}×{shape[1]} pixels; expected {train[2]}×{train[1]}, "
                f"as in {files['train'][0].name}"
            )
    return ImageSplits(list(names), sets)


def _names(prefix: str, content: str, axes: int) -> list[str]:
    return [f"{prefix}-{content}{separator}idx{axes}-ubyte{end}" for separator in "-." for end in ("", ".gz")]


def _read_split(images_file: Path, labels_file: Path) -> ImageSet:
    images, targets = read_idx(images_file, IMAGES), read_idx(labels_file, LABELS)
    if len(images) != len(targets):
        raise DataError(
            f"{labels_file}: {len(targets)} labels; expected {len(images)}, one per image of {images_file.name}"
        )
    return ImageSet(images[:, None], targets.long())


def read_idx(path: Path, axes: int) -> Tensor:
    """Read a file of bytes with this many axes, compressed or not.

    Raises:
        DataError: it cannot be read, or does not match its header.
    """
    try:
        with path.open("rb") as file:
            if file.read(2) == GZIP:
                file.seek(0)
                with gzip.open(file) as inner:
                    return _parse(inner, path, axes, MAX_DEFLATE_RATIO)
            file.seek(0)
            return _parse(file, path, axes, 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}; download it again"
        ) from error


def _parse(file: IO[bytes] | gzip.GzipFile, path: Path, axes: int, density: int) -> Tensor:
    header = file.read(4 + 4 * axes)
    expected = bytes([0, 0, 8, axes])
    if header[:4] != expected:
        raise DataError(
            f"{path}: begins with {header[:4].hex() or 'nothing'}; expected {expected.hex()}, "
            f"an IDX file of bytes with {axes} {'axes' if axes > 1 else 'axis'}"
        )
    shape = [int.from_bytes(header[start : start + 4], "big") for start in range(4, len(header), 4)]
    size = math.prod(shape)
    if len(header) < 4 + 4 * axes or not size:
        raise DataError(f"{path}: its header gives the lengths {shape}; expected {axes} lengths, all above 0")
    # Never read more than the header says, or than a file of this size can contain: it may be a decompression bomb.
    body = file.read(size + 1) if size <= path.stat().st_size * density else b""
    if len(body) != size:
        found = f"more than {size:,}" if len(body) > size else f"{len(body):,}" if body else "fewer"
        raise DataError(f"{path}: {found} bytes after the header; expected {size:,} ({'×'.join(map(str, shape))})")
    return torch.frombuffer(bytearray(body), dtype=torch.uint8).view(shape)
