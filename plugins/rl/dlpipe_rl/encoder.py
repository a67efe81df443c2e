"""From observations to features: fully connected layers for vectors, convolutions for images.

Source of the convolutions: Mnih et al. 2015, "Human-level control through deep reinforcement learning",
https://doi.org/10.1038/nature14236, Methods, "Model architecture".
Departs from it: images too small for its kernels get two layers of 3×3 kernels, and those too small for these, none;
`hidden` sets the fully connected layers after the convolutions.
Axes: B observations, F features, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

#: (channels, kernel, stride) of the paper's layers for 84×84 pixels, and of those for smaller images.
NATURE = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
SMALL = ((16, 3, 1), (32, 3, 1))
#: The smallest side of an image for which the paper's layers have an output, and of one for which the others have.
NATURE_NEEDS, SMALL_NEEDS = 36, 5


def to_float(obs: Tensor) -> Tensor:
    """Return observations (B, …) as float32; bytes are scaled to 0 … 1."""
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
    """Return layers that map observations (B, *obs_shape) of `to_float` to features (B, F), and F.

    Args:
        hidden: units of the fully connected layers.
        linear: creates a fully connected layer.
        activation: creates the activation after each of them.
    """
    layers: list[nn.Module] = []
    width = math.prod(obs_shape)
    if len(obs_shape) == 3 and min(obs_shape[1:]) >= SMALL_NEEDS:
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
