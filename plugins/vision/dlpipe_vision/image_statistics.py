"""What predictions need to know of the training images: shape, mean, standard deviation, and the background.

Axes: N images, B of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dlpipe_vision.picture import LIGHT_BACKGROUND

#: Images used to compute mean and standard deviation if not all of them fit into memory.
STATISTICS_SAMPLE = 2000
#: One of the 65,535 steps of 16 bits, on the scale from 0 to 255.
LEVEL_OF_16_BITS = 255 / 65535
#: Training images are light on dark if the mean of their outermost pixels (of 255) is below this.
DARK = 64


def image_statistics(images: Tensor | Sequence[Tensor]) -> dict[str, Any]:
    """Return the statistics of the training images that predictions need.

    Of images that are not in memory, at most `STATISTICS_SAMPLE` are read for them, evenly spread.
    """
    rows = range(0, len(images), math.ceil(len(images) / STATISTICS_SAMPLE))
    parts = [images] if isinstance(images, Tensor) else (images[row][None] for row in rows)
    moments, edge = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    any_light = False
    for part in parts:
        moments = moments + (_float_moments(part) if part.is_floating_point() else _byte_counts(part))
        border = torch.cat([part[:, :, 0], part[:, :, -1], part[:, :, :, 0], part[:, :, :, -1]], dim=-1)
        edge = edge + torch.tensor([border.sum(dtype=torch.float64), border.numel()])
        any_light |= bool(((border > LIGHT_BACKGROUND).float().mean((1, 2)) >= 0.5).any())
    shape = list(part.shape[1:])
    mean, deviation = _mean_and_deviation(moments, floats=part.is_floating_point())
    return {
        "image_shape": shape,
        "mean": mean.tolist(),
        "std": deviation.tolist(),
        # Not if a training image has a light background: predictions must not invert what training did not.
        "light_on_dark": shape[0] == 1 and float(edge[0] / edge[1]) < DARK and not any_light,
    }


def _byte_counts(images: Tensor) -> Tensor:
    """Count the values of bytes (B, C, H, W) by channel: (C, 256)."""
    return torch.stack([plane.flatten().bincount(minlength=256) for plane in images.unbind(1)])


def _float_moments(images: Tensor) -> Tensor:
    """Return number, sum and sum of squares of floating-point images (B, C, H, W) by channel: (C, 3)."""
    planes = images.double().transpose(0, 1).flatten(1)
    return torch.stack([torch.full((len(planes),), planes.shape[1]), planes.sum(1), (planes**2).sum(1)], dim=1)


def _mean_and_deviation(moments: Tensor, *, floats: bool) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (C,); the latter at least one level, to avoid division by zero."""
    if floats:
        count, total, squares = moments.unbind(1)
        mean = total / count
        return mean, (squares / count - mean**2).clamp(min=0).sqrt().clamp(min=LEVEL_OF_16_BITS)
    shares, values = moments / moments.sum(1, keepdim=True), torch.arange(256, dtype=torch.float64)
    mean = (shares * values).sum(1, keepdim=True)
    return mean[:, 0], (shares * (values - mean) ** 2).sum(1).sqrt().clamp(min=1.0)
