"""From what an agent sees to features: fully connected for numbers, convolutions for images.

Source of the convolutions: Mnih et al. 2015, "Human-level control through deep reinforcement learning",
https://doi.org/10.1038/nature14236, Methods, "Model architecture".
Departs from it: images too small for its kernels get two layers of 3×3 kernels; `hidden` says how many units
follow the convolutions.
Axes: B observations, F numbers of one, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

#: (channels, kernel, stride) of the paper, which takes 84×84 pixels, and of small boards.
NATURE = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
SMALL = ((16, 3, 1), (32, 3, 1))
#: The smallest image of which the paper's layers leave something.
NATURE_NEEDS = 36


def as_numbers(obs: Tensor) -> Tensor:
    """Return observations (B, …) as floats, bytes as numbers from 0 to 1."""
    if obs.dtype is torch.float32:
        return obs
    return obs.float() / 255 if obs.dtype is torch.uint8 else obs.float()


def encoder(
    obs_shape: Sequence[int],
    hidden: Sequence[int],
    *,
    linear: Callable[[int, int], nn.Module] = nn.Linear,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> tuple[nn.Sequential, int]:
    """Return layers from observations (B, *obs_shape), as `as_numbers` gives them, to features (B, F), and F.

    Args:
        hidden: units of the fully connected layers.
        linear: makes one of them.
        activation: behind each layer.
    """
    layers: list[nn.Module] = []
    width = math.prod(obs_shape)
    if len(obs_shape) == 3:
        convolutions = _convolutions(NATURE if min(obs_shape[1:]) >= NATURE_NEEDS else SMALL, obs_shape[0])
        layers += convolutions
        with torch.no_grad():
            width = nn.Sequential(*convolutions)(torch.zeros(1, *obs_shape)).numel()
    if len(obs_shape) > 1:
        layers.append(nn.Flatten())
    for size in hidden:
        layers += [linear(width, size), activation()]
        width = size
    return nn.Sequential(*layers), width


def _convolutions(plan: Sequence[tuple[int, int, int]], channels: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for filters, kernel, stride in plan:
        layers += [nn.Conv2d(channels, filters, kernel, stride), nn.ReLU()]
        channels = filters
    return layers
