"""Encoder and decoder networks of auto-encoders.

Axes: B images, C channels, H rows, W columns, F features.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from typing import Literal

from torch import nn

from dlpipe_generative.resampling import downsample, halved_sizes, upsample

Net = Literal["dense", "conv"]
Activation = Literal["relu", "tanh", "softplus", "silu"]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
}


def dense_layers(sizes: Sequence[int], activation: Activation) -> list[nn.Module]:
    """Return linear layers of these sizes (the first is the input size), each followed by an activation."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return layers


def build_encoder(
    image_shape: tuple[int, int, int], net: Net, hidden: Sequence[int], activation: Activation
) -> tuple[nn.Sequential, int]:
    """Return a network from images (B, C, H, W) to features (B, F), and F.

    Args:
        hidden: units of each layer; for "conv", channels of each convolution, which halves the image.

    Raises:
        ValueError: the image cannot be halved that often.
    """
    if net == "dense":
        sizes = [prod(image_shape), *hidden]
        return nn.Sequential(nn.Flatten(), *dense_layers(sizes, activation)), sizes[-1]
    size = _sizes(image_shape, hidden)[-1]
    layers: list[nn.Module] = []
    for inputs, outputs in zip([image_shape[0], *hidden], hidden, strict=False):
        layers += [downsample(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Flatten()), hidden[-1] * prod(size)


def build_decoder(
    inputs: int, image_shape: tuple[int, int, int], net: Net, hidden: Sequence[int], activation: Activation
) -> nn.Sequential:
    """Return a network from vectors (B, inputs) to unbounded pixels (B, C, H, W).

    Args:
        hidden: as in `build_encoder`; used in reverse order.

    Raises:
        ValueError: the image cannot be halved that often.
    """
    widths = [*reversed(hidden)]
    if net == "dense":
        last = nn.Linear([inputs, *widths][-1], prod(image_shape))
        return nn.Sequential(*dense_layers([inputs, *widths], activation), last, nn.Unflatten(1, image_shape))
    size = _sizes(image_shape, hidden)[-1]
    layers: list[nn.Module] = [
        nn.Linear(inputs, widths[0] * prod(size)),
        ACTIVATIONS[activation](),
        nn.Unflatten(1, (widths[0], *size)),
    ]
    for before, after in itertools.pairwise(widths):
        layers += [upsample(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, upsample(widths[-1], image_shape[0]))


def _sizes(image_shape: tuple[int, int, int], hidden: Sequence[int]) -> list[tuple[int, int]]:
    sizes = halved_sizes(image_shape, 1)
    if not 0 < len(hidden) < len(sizes):
        _, height, width = image_shape
        raise ValueError(
            f'net = "conv", hidden = {list(hidden)}: images of {height}×{width} pixels can be halved {len(sizes) - 1} '
            f"times; expected 1 to {len(sizes) - 1} convolutions"
        )
    return sizes[: len(hidden) + 1]
