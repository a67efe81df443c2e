"""The images of splits, in memory or in files.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from dlpipe.data import Prepare
from dlpipe.protocols import Batch
from dlpipe_vision.image_statistics import image_statistics


@dataclass(frozen=True)
class ImageSet:
    """The images of one split, as their files contain them.

    Args:
        images: (N, C, H, W) bytes, or floating point from 0 to 255 if files have more than 8 bits; or, if those do
            not fit into memory, a sequence of (C, H, W).
        targets: (N,) int64, class numbers.
        names: a name for each image, such as its file; by default its number.
        files: the file of each image, or the archive that it is in, to detect changes of images that are not in memory.
        keys: a key for each image, equal if the images are; None to compare them in memory.
    """

    images: Tensor | Sequence[Tensor]
    targets: Tensor
    names: Sequence[str] | None = None
    files: Sequence[Path] | None = None
    keys: Sequence[Hashable] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def subset(self, rows: Tensor) -> ImageSet:
        """Return the images `rows` (M,)."""
        numbers = rows.tolist()
        names = self.names or range(len(self))
        images = self.images[rows] if isinstance(self.images, Tensor) else ImageSubset(self.images, numbers)
        files = None if self.files is None else [self.files[row] for row in numbers]
        keys = None if self.keys is None else [self.keys[row] for row in numbers]
        return ImageSet(images, self.targets[rows], [str(names[row]) for row in numbers], files, keys)


class ImageSubset(Sequence[Tensor]):
    """A subset of a sequence of images."""

    def __init__(self, images: Sequence[Tensor], rows: Sequence[int]) -> None:
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._images[self._rows[index]]


@dataclass(frozen=True)
class ImageSplits:
    """The images of all splits.

    Args:
        labels: the name of each class.
        sets: images by split; if there is no "dev" split, it is taken from "train".
        statistics: computes `image_statistics` of the training images, or knows them.
        source: where they are, for messages.
    """

    labels: Sequence[str]
    sets: Mapping[str, ImageSet]
    statistics: Callable[[ImageSet], dict[str, Any]] = lambda train: image_statistics(train.images)
    source: str = "this data"


class ImageDataset(Dataset[Batch]):
    """Images that do not fit into memory and are read when they are needed."""

    decodes_files = True

    def __init__(self, images: ImageSet, prepare: Prepare) -> None:
        self._images, self.prepare = images, prepare

    @property
    def targets(self) -> Tensor:
        """The class number of each image (N,)."""
        return self._images.targets

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"prepare": None}  # worker processes read, the main process prepares

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> Batch:
        return {"images": self._images.images[row], "targets": self._images.targets[row]}


def image_keys(images: Tensor | Sequence[Tensor]) -> list[Hashable]:
    """Return a key for each image (C, H, W): equal if the images are."""
    return [image_key(image) for image in images]


def image_key(image: Tensor) -> str:
    """Return a text for an image (C, H, W) that is equal for equal pixels, also in other processes."""
    return hashlib.blake2b(image.contiguous().numpy().data, digest_size=16).hexdigest()
