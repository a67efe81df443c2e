"""What dlpipe remembers of image files, so that those it has decoded once are not decoded at every start."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import PIL
from torch import Tensor

from dlpipe.data import FileManifest, Files, file_digests
from dlpipe_vision.image_sets import ImageSet, image_key
from dlpipe_vision.image_statistics import image_statistics


@dataclass(frozen=True)
class ImageFacts:
    """What has to be known of an image that is not in memory.

    Args:
        channels: C, as the image has them.
        floats: whether it has more than 8 bits, so that it is kept as floating point.
        key: equal if the pixels are.
    """

    channels: int
    height: int
    width: int
    floats: bool
    key: str

    @classmethod
    def of(cls, image: Tensor) -> ImageFacts:
        """Return the facts of an image (C, H, W)."""
        channels, height, width = image.shape
        return cls(channels, height, width, image.is_floating_point(), image_key(image))


def num_bytes(images: Collection[ImageFacts]) -> int:
    """Return how much memory images take together: all have as many channels and bits as the largest."""
    width = 4 if any(image.floats for image in images) else 1
    channels = max((image.channels for image in images), default=1)
    return sum(width * channels * math.prod((image.height, image.width)) for image in images)


def own_manifest(kind: str, path: Path, how: str = "") -> FileManifest:
    """Return the manifest of a folder or archive that this version of the code writes; another one may read otherwise.

    Args:
        kind: see `FileManifest`.
        how: everything besides the files and the code that decides what is read.
    """
    code = sorted(file_digests(Path(__file__).parent.glob("*.py")).values())
    return FileManifest(kind, f"{path.absolute()} {how} {code}")


class ImageManifest:
    """The facts of the images in a folder or archive, for one way to decode them.

    Args:
        how: everything besides the file that decides the pixels.
    """

    def __init__(self, files: Files, how: object) -> None:
        self._files = files
        owner = f"{how!r} Pillow {PIL.__version__}"
        self._images, self._statistics = (
            own_manifest(kind, files.path, owner) for kind in ("images", "image_statistics")
        )
        self._states: dict[str, list[int]] = {}

    def known(self, names: Sequence[str]) -> dict[str, ImageFacts]:
        """Return the facts of those images that have not changed since they were decoded.

        Raises:
            DataError: a file has disappeared.
        """
        self._states = {name: self._files.state(name) for name in names}
        known = {name: self._images.known(name, state) for name, state in self._states.items()}
        return {name: ImageFacts(*facts) for name, facts in known.items() if facts is not None}

    def keep(self, facts: Mapping[str, ImageFacts]) -> None:
        """Remember the facts of images whose files were as they are in `known`, and forget all others."""
        self._images.keep({name: (self._states[name], astuple(each)) for name, each in facts.items()})

    def statistics(self, train: ImageSet, how: object) -> dict[str, Any]:
        """Return `image_statistics` of training images; they are computed once for the same images.

        Args:
            how: what besides their keys decides their pixels.
        """
        state = [hashlib.sha256(repr((how, train.keys)).encode()).hexdigest()]
        if (found := self._statistics.known("train", state)) is None:
            found = image_statistics(train.images)
            self._statistics.keep({"train": (state, found)})
        return dict(found)
