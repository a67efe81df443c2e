"""``vision.content_and_style``: pairs of an image and another one in whose style it is to be drawn.

Axes: N pairs, C channels (three), H rows, W columns.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any

import torch
from PIL import Image, ImageOps
from pydantic import Field, Strict
from torch import Tensor

from dlpipe.compute import derived_seed
from dlpipe.data import Columns, expand_folder, file_digests
from dlpipe.errors import DataError, InputError
from dlpipe.fields import NotWith, Positive
from dlpipe.messages import counted
from dlpipe.progress import tracked
from dlpipe.protocols import Batch
from dlpipe_vision import scene_drawing, texture_drawing
from dlpipe_vision.distinct import require_distinct
from dlpipe_vision.picture import SUFFIXES, in_mode, open_image, to_tensor
from dlpipe_vision.scene_drawing import draw_scene
from dlpipe_vision.texture_drawing import TEXTURES, draw_texture
from dlpipe_vision.textures import Texture

SPLITS = ("train", "dev", "test")
#: Shares of the files of a folder that are held out, at least one file each.
DEV_SHARE, TEST_SHARE = 0.1, 0.2


class ContentAndStyle:
    """Pairs of a content image and a style image, for style transfer.

    By default both are drawn: a landscape with clear edges, and a texture. No image of dev or test is in training. All
    styles of training and dev are textures of the same kinds; half of the styles of test are of kinds that training has
    not, which the column ``new_kinds`` marks.

    Pictures from a folder are resized and cropped to the middle square. About a tenth of the pictures of each folder is
    for dev, a fifth for test, as their content decides: a picture stays in its split if others are added, and copies
    of it count once. Each split has at least one picture; with fewer than about 40 pictures, it may be one of another
    split, which moves when some are added. The pairs of a split are drawn at random.

    Args:
        size: height and width of all images, in pixels.
        train_size: number of training pairs, fewer if there are not as many different ones; all pairs are kept in
            memory, with 6 size² bytes each.
        dev_size: the same of the dev split.
        test_size: the same of the test split.
        content: a folder of pictures instead of the landscapes, with or without subfolders.
        styles: a folder of pictures instead of the textures, such as paintings.
        held_out_kinds: the kinds of texture that only test has.
        seed: of what is drawn, and of the pairs.
    """

    splits = SPLITS

    def __init__(
        self,
        *,
        size: Annotated[int, Strict(), Field(ge=8)] = 32,
        train_size: Positive = 2000,
        dev_size: Positive = 40,
        test_size: Positive = 80,
        content: Path | None = None,
        styles: Path | None = None,
        held_out_kinds: Annotated[Sequence[Texture], NotWith("styles")] = ("clouds", "cells"),
        seed: int = 0,
    ) -> None:
        self._size, self._content, self._styles, self._seed = size, content, styles, seed
        self._counts = dict(zip(SPLITS, (train_size, dev_size, test_size), strict=True))
        require_distinct("held_out_kinds", held_out_kinds)
        self._new_kinds = list(held_out_kinds)
        self._kinds = [kind for kind in TEXTURES if kind not in held_out_kinds]
        if not self._kinds:
            raise InputError("held_out_kinds has all kinds of texture; leave some for training")
        self._files: dict[Path, dict[str, list[Path]]] = {}
        self._loaded: dict[str, Columns] = {}

    @property
    def facts(self) -> dict[str, Any]:
        """``image_shape`` (C, H, W), ``pixel_range`` (values of black and white)."""
        return {"image_shape": (3, self._size, self._size), "pixel_range": (0.0, 1.0)}

    def split(self, name: str) -> Columns:
        """Return ``images`` and ``styles`` (N, C, H, W) from 0 to 1, and of drawn styles ``new_kinds`` (N,) bool.

        Raises:
            DataError: a folder cannot be used.
            InputError: a picture cannot be read.
        """
        if name not in self._loaded:
            self._loaded[name] = Columns(self._pairs(name), prepare=_prepare)
        return self._loaded[name]

    def state(self) -> dict[str, Any]:
        """Return an empty state: nothing is learned from the images."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Do nothing: there is no state."""

    def fingerprint(self) -> str:
        """Return a digest of what determines the images: parameters, the code that draws them, and all files."""
        digest = hashlib.sha256(repr((self._size, self._counts, self._new_kinds, self._seed)).encode())
        for module in (scene_drawing, texture_drawing):
            digest.update(inspect.getsource(module).encode())
        for folder in (self._content, self._styles):
            files = [] if folder is None else [file for part in self._in_folder(folder).values() for file in part]
            digests = file_digests(files)
            digest.update(repr(sorted(digests.values())).encode())
        return digest.hexdigest()[:16]

    def _pairs(self, split: str) -> dict[str, Tensor]:
        """Return the columns of a split; pair number k has the k-th drawn image, or a file drawn at random."""
        count, random = self._counts[split], Random(derived_seed(self._seed, "pairs", split))
        if self._content is not None and self._styles is not None:
            files = [self._in_folder(folder)[split] for folder in (self._content, self._styles)]
            different = len(files[0]) * len(files[1])
            if split == "train" and count > different:
                warnings.warn(
                    f"train_size = {count}: the training pictures of the folders make only "
                    f"{counted(different, 'different pair')}; add pictures for more",
                    stacklevel=2,
                )
            chosen = random.sample(range(different), min(count, different))
            pairs = [divmod(number, len(files[1])) for number in chosen]
            read = [self._read([each[pair[side]] for pair in pairs]) for side, each in enumerate(files)]
            return {"images": read[0], "styles": read[1]}
        if self._content is not None:
            contents = self._read(random.choices(self._in_folder(self._content)[split], k=count))
        else:
            contents = torch.stack(
                [_bytes(draw_scene(self._size, self._generator("scene", split, k))) for k in range(count)]
            )
        if self._styles is not None:
            styles = self._read(random.choices(self._in_folder(self._styles)[split], k=count))
            return {"images": contents, "styles": styles}
        kinds = [self._kind(split, k) for k in range(count)]
        drawn = [
            _bytes(draw_texture(kind, self._size, self._generator("style", split, k))) for k, kind in enumerate(kinds)
        ]
        new = torch.tensor([kind in self._new_kinds for kind in kinds])
        return {"images": contents, "styles": torch.stack(drawn), "new_kinds": new}

    def _kind(self, split: str, number: int) -> str:
        """Return the kind of a drawn style; in test, every second one is new, and kinds take turns."""
        if split != "test" or not self._new_kinds:
            return self._kinds[number % len(self._kinds)]
        kinds = self._new_kinds if number % 2 else self._kinds
        return kinds[number // 2 % len(kinds)]

    def _generator(self, what: str, split: str, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(derived_seed(self._seed, what, split, number))

    def _read(self, files: Sequence[Path]) -> Tensor:
        """Return pictures as bytes (N, C, H, W); each file is read once, however often it is in the list."""
        rows = {file: row for row, file in enumerate(dict.fromkeys(files))}
        pictures = torch.stack([read_square(file, self._size) for file in tracked(rows, "reading images")])
        return pictures[[rows[file] for file in files]]

    def _in_folder(self, folder: Path) -> dict[str, list[Path]]:
        """Return the files of a folder by split, copies left out."""
        if folder not in self._files:
            if not folder.is_dir():
                raise DataError(f"{folder}: no such folder; expected one of pictures")
            digests = file_digests(map(Path, expand_folder(str(folder), SUFFIXES, "image")))
            files = {digest: file for file, digest in sorted(digests.items(), reverse=True)}  # the first of copies
            if len(files) < len(SPLITS):
                raise DataError(
                    f"{folder}: {counted(len(files), 'different image')}; expected at least {len(SPLITS)}, one for "
                    f"each of {', '.join(SPLITS)}; add some"
                )
            self._files[folder] = _divided(files)
        return self._files[folder]


def _divided(files: Mapping[str, Path]) -> dict[str, list[Path]]:
    """Divide files into splits by the sha256 of their content, which are like random numbers; none is empty."""
    order = sorted(files)
    positions = [int(digest[:8], 16) / 2**32 for digest in order]
    dev = max(1, sum(position < DEV_SHARE for position in positions))
    dev = min(dev, len(order) - 2)
    held_out = max(dev + 1, sum(position < DEV_SHARE + TEST_SHARE for position in positions))
    held_out = min(held_out, len(order) - 1)
    parts = order[held_out:], order[:dev], order[dev:held_out]
    return {split: [files[digest] for digest in part] for split, part in zip(SPLITS, parts, strict=True)}


def read_square(path: Path, size: int) -> Tensor:
    """Return a picture as bytes (3, size, size): resized, and cropped to the middle.

    Raises:
        InputError: see `open_image`.
    """
    image = ImageOps.fit(in_mode(open_image(path), "RGB"), (size, size), Image.Resampling.LANCZOS)
    pixels = to_tensor(image, "RGB")
    return pixels.round().byte() if pixels.is_floating_point() else pixels


def _bytes(pixels: Tensor) -> Tensor:
    """Return pixels from 0 to 1 as bytes."""
    return pixels.mul(255).round().byte()


def _prepare(batch: Batch, generator: torch.Generator, training: bool) -> Batch:
    return batch | {name: batch[name] * (1 / 255) for name in ("images", "styles")}
