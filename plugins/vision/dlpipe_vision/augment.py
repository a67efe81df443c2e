"""Random augmentation of batches of images, on their own device.

Each image of a batch is augmented independently, with its own angle, distance and so on.
Axes: B images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, TypedDict

import torch
from pydantic import Field, Strict
from torch import Tensor
from torch.nn import functional as F

from dlpipe.fields import Fraction, Positive, PositiveFloat


class Augment(TypedDict, total=False):
    """How training images are augmented, in this order.

    Keys:
        rotate: rotate by a random angle of at most this many degrees in either direction.
        scale: scale by a random factor between 1 - scale and 1 + scale.
        shift: shift by a random distance of at most this many pixels, horizontally and vertically.
        flip: mirror left and right with probability 0.5.
        crop: pad with this many black pixels on each side, then crop to the old size at a random position.
        erase: probability of filling a rectangle (2 to 33 % of the area) with black.
        noise: standard deviation of the noise added to every pixel (0 to 1).
    """

    rotate: PositiveFloat
    scale: Annotated[float, Strict(), Field(gt=0, lt=1)]
    shift: Positive
    flip: bool
    crop: Positive
    erase: Fraction
    noise: PositiveFloat


#: Smallest and largest area of an erased rectangle, and its largest aspect ratio, as in
#: Zhong et al. 2017, "Random Erasing Data Augmentation", https://arxiv.org/abs/1708.04896, section 4.1.
ERASED_AREA, ERASED_ASPECT = (0.02, 0.33), 3.3


def augmented(images: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    """Return augmented images (B, C, H, W); pixels from outside an image are black (0)."""
    if "rotate" in how or "scale" in how or "shift" in how:
        images = _transformed_affine(images, how, generator)
    if how.get("flip"):
        mirrored = _uniform(images, generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if "crop" in how:
        images = _cropped(images, how["crop"], generator)
    if "erase" in how:
        images = _erased(images, how["erase"], generator)
    if "noise" in how:
        images = noisy(images, how["noise"], generator)
    return images


def noisy(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Add N(0, deviation²) to every pixel; the result is not clipped to 0 to 1."""
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return images + noise * deviation


def affine(images: Tensor, angle: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """Rotate and scale images (B, C, H, W) about their center, then shift them, with bilinear interpolation.

    Args:
        angle: (B,) degrees, counter-clockwise.
        factor: (B,) scale; above 1 enlarges.
        shift: (B, 2) pixels, to the right and downwards.
    """
    height, width = images.shape[-2:]
    turn = angle * (math.pi / 180)
    cosine, sine = torch.cos(turn) / factor, torch.sin(turn) / factor
    # The matrix maps a pixel of the result to its source, in units of half an image.
    across, down = shift[:, 0] * (2 / width), shift[:, 1] * (2 / height)
    ratio = height / width
    rows = torch.stack(
        [
            torch.stack([cosine, -sine * ratio, -cosine * across + sine * ratio * down], dim=1),
            torch.stack([sine / ratio, cosine, -sine / ratio * across - cosine * down], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _transformed_affine(images: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    def spread(limit: float, *shape: int) -> Tensor:
        return (2 * _uniform(images, generator, *shape) - 1) * limit

    angle, factor = spread(how.get("rotate", 0.0)), 1 + spread(how.get("scale", 0.0))
    return affine(images, angle, factor, spread(how.get("shift", 0), 2))


def _cropped(images: Tensor, border: int, generator: torch.Generator) -> Tensor:
    batch, channels, height, width = images.shape
    padded = F.pad(images, (border, border, border, border))
    top, left = (_uniform(images, generator, 2) * (2 * border + 1)).long().unbind(1)
    rows = (top[:, None] + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (left[:, None] + torch.arange(width, device=images.device))[:, None, None, :]
    batch_rows = torch.arange(batch, device=images.device)[:, None, None, None]
    channel_rows = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[batch_rows, channel_rows, rows, columns]


def _erased(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    height, width = images.shape[-2:]
    chosen, area, aspect, across, down = _uniform(images, generator, 5).unbind(1)
    size = (ERASED_AREA[0] + area * (ERASED_AREA[1] - ERASED_AREA[0])) * height * width
    ratio = torch.exp((2 * aspect - 1) * math.log(ERASED_ASPECT))
    tall, wide = (size * ratio).sqrt().clamp(max=height), (size / ratio).sqrt().clamp(max=width)
    top, left = (down * (height - tall))[:, None], (across * (width - wide))[:, None]
    rows = torch.arange(height, device=images.device) + 0.5
    columns = torch.arange(width, device=images.device) + 0.5
    in_rows = (rows > top) & (rows < top + tall[:, None])
    in_columns = (columns > left) & (columns < left + wide[:, None])
    erased_pixels = in_rows[:, :, None] & in_columns[:, None, :] & (chosen < probability)[:, None, None]
    return images.masked_fill(erased_pixels[:, None], 0.0)


def _uniform(images: Tensor, generator: torch.Generator, *shape: int) -> Tensor:
    """Return (B, *shape) uniform random numbers from 0 to 1."""
    options: dict[str, Any] = {"generator": generator, "device": images.device}
    return torch.rand(len(images), *shape, **options)
