"""What ``dlpipe predict`` does with a trained style transfer: draw pictures in the style of another one.

Axes: C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dlpipe.compute import Compute
from dlpipe.data import FailedItem, expand_folder, require_new
from dlpipe.errors import InputError
from dlpipe.fields import Fraction, Positive
from dlpipe.protocols import Data
from dlpipe_vision.picture import SUFFIXES, in_mode, open_image, to_pixels, to_tensor
from dlpipe_vision.style_transfer import StyleTransfer

#: Where the pictures are written by default; one picture, or a folder of several.
OUTPUT = Path("stylized.png")
#: Shorter side of the smallest picture that leaves a network something to see, in pixels.
SMALLEST = 8
#: A larger picture is refused, as its maps are all in memory: 530 bytes per pixel with the network of
#: pipelines/style_transfer.toml on a CPU, 8.5 GB in all (growth of the resident set, torch 2.14).
MAX_PIXELS = 16_000_000


def stylize(
    model: StyleTransfer,
    data: Data,
    compute: Compute,
    *,
    items: Sequence[str] = (),
    style: Path,
    strength: Fraction = 1.0,
    size: Positive | None = None,
    style_size: Positive | None = None,
    output: Path = OUTPUT,
) -> Iterator[dict[str, Any] | FailedItem]:
    """Draw pictures in the style of another one and write them to files.

    Args:
        items: the pictures, or folders of such.
        style: the picture in whose style they are drawn.
        strength: how much of the style, from 0 to 1.
        size: number of pixels to which the shorter side of each picture is resized; by default it keeps its size. The
            smaller a picture, the larger is the texture of the style in it. At most 16 million pixels are drawn.
        style_size: the same of the style.
        output: a new .png file for one picture, or a new or empty folder for several, which keep their names.

    Raises:
        InputError: there is no picture, the style cannot be read or is too large, or the output cannot be written.
    """
    pictures, failed = _expanded(items)
    yield from failed
    if not pictures and not failed:
        raise InputError("give a picture to draw in the style of --style, or a folder of pictures")
    targets = _targets(pictures, output)
    if style.is_dir():
        raise InputError(f"--style {style} is a folder; expected one picture")
    channels = data.facts["image_shape"][0]
    of_style = _read(style, channels, style_size, "--style-size").to(compute.device)
    for picture, target in zip(pictures, targets, strict=True):
        try:
            image = _read(Path(picture), channels, size, "--size").to(compute.device)
        except InputError as error:
            yield FailedItem(picture, picture, error)
            continue
        with torch.inference_mode():
            drawn = model.stylize(image, of_style, strength)
        target.parent.mkdir(parents=True, exist_ok=True)
        _image(drawn[0]).save(target)
        yield {"item": picture, "written": str(target), "width": drawn.shape[3], "height": drawn.shape[2]}


def _expanded(items: Sequence[str]) -> tuple[list[str], list[FailedItem]]:
    """Return the single pictures that items stand for, and the items that stand for none."""
    pictures: list[str] = []
    failed = []
    for item in items:
        try:
            pictures += expand_folder(item, SUFFIXES, "image")
        except InputError as error:
            failed.append(FailedItem(item, item, error))
    return pictures, failed


def _targets(pictures: Sequence[str], output: Path) -> list[Path]:
    """Return the file of each picture that is drawn.

    Raises:
        InputError: it is a file and there are several pictures, it exists, or two pictures have the same name.
    """
    if output.suffix.lower() in SUFFIXES and not output.is_dir():  # a folder may be called v1.5
        if output.suffix.lower() != ".png":
            raise InputError(f"--output {output}: expected a name that ends in .png, or a folder")
        if len(pictures) > 1:
            raise InputError(
                f"--output {output} is a file, and there are {len(pictures)} pictures; name a folder: "
                f"--output {output.with_suffix('')}"
            )
        require_new(output)
        return [output] * len(pictures)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output}: expected a new or an empty folder; choose another name")
    targets = [output / f"{Path(picture).stem}.png" for picture in pictures]
    times = Counter(targets)
    for target, picture in zip(targets, pictures, strict=True):
        if times[target] > 1:
            raise InputError(
                f"--output {output}: several pictures would be {target.name}, such as {picture}; rename one"
            )
    return targets


def _read(path: Path, channels: int, size: int | None, option: str) -> Tensor:
    """Return a picture (1, C, H, W) from 0 to 1, its shorter side resized to `size`.

    Args:
        option: that gives the size, for messages.

    Raises:
        InputError: it cannot be read, is too small, or is too large.
    """
    mode = "L" if channels == 1 else "RGB"
    image = in_mode(open_image(path), mode)
    factor = 1 if size is None else size / min(image.size)
    width, height = (max(1, round(side * factor)) for side in image.size)
    if min(width, height) < SMALLEST:
        raise InputError(
            f"{path}: {width}×{height} pixels; expected at least {SMALLEST}×{SMALLEST}, or a larger {option}"
        )
    if width * height > MAX_PIXELS:
        fitting = math.isqrt(MAX_PIXELS * min(image.size) // max(image.size)) - 1  # the other side may be rounded up
        raise InputError(
            f"{path}: {width}×{height} pixels; expected at most {MAX_PIXELS:,}, whose maps fit into memory; make the "
            f"picture smaller: {option} {fitting}"
        )
    if size is not None:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return to_tensor(image, mode)[None] / 255


def _image(picture: Tensor) -> Image.Image:
    """Return a picture (C, H, W) from 0 to 1 as an image."""
    return Image.fromarray(to_pixels((picture.float().clamp(0, 1) * 255).round().byte().cpu()))
