"""The images that dreams start from.

Axes: B images, C channels, H rows, W columns, S the side of a dream.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from dlpipe_vision.labeled_images import LabeledImages
from dlpipe_vision.picture import in_mode, open_image, to_tensor

#: Mean and standard deviation of the noise that a dream may start from, of pixels from 0 to 1.
NOISE = (0.5, 0.1)


def mirrored_tiles(images: Tensor, size: int) -> Tensor:
    """Return images (B, C, H, W) continued by their mirror images to (B, C, size, size); larger ones are cropped.

    Enlarged images would be blurred, and nothing in them would have the size that a network knows.
    """
    images = torch.cat([images, images.flip(2)], dim=2)
    images = torch.cat([images, images.flip(3)], dim=3)
    down, across = (-(-size // side) for side in images.shape[2:])
    return images.repeat(1, 1, down, across)[:, :, :size, :size]


def examples_of(data: LabeledImages, split: str, rows: Tensor, size: int) -> Tensor:
    """Return the images `rows` (B,) of a split as (B, C, S, S) with pixels from 0 to 1, tiled."""
    return mirrored_tiles(data.pictures(split, rows).float() / 255, size)


def noise_images(count: int, channels: int, size: int, generator: torch.Generator) -> Tensor:
    """Return images (B, C, S, S) of grey noise with pixels from 0 to 1."""
    mean, deviation = NOISE
    return (torch.randn(count, channels, size, size, generator=generator) * deviation + mean).clamp(0, 1)


def picture_image(path: Path, channels: int, size: int) -> tuple[Tensor, list[str]]:
    """Return the middle of a user's picture as (1, C, S, S) with pixels from 0 to 1, and notes about the changes to it.

    Raises:
        InputError: it cannot be read, see `open_image`.
    """
    mode = "L" if channels == 1 else "RGB"
    image = in_mode(open_image(path), mode)
    notes = [f"cropped and resized from {image.width}×{image.height} to {size}×{size}"] * (image.size != (size, size))
    square = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return to_tensor(square, mode)[None].float() / 255, notes
