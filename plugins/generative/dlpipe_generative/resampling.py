"""Strided convolutions that halve the size of an image, and transposed ones that double it.

Axes: B images, C channels, H rows, W columns.
"""

from __future__ import annotations

from torch import nn


def halved_sizes(image_shape: tuple[int, int, int], smallest: int) -> list[tuple[int, int]]:
    """Return the sizes (H, W) of an image that is halved while both sides are even and stay at least `smallest`.

    The first is the size of the image. 64×64 is halved four times, to 4×4, and 28×28 twice, to 7×7.

    Raises:
        ValueError: it cannot be halved at all.
    """
    _, height, width = image_shape
    sizes = [(height, width)]
    while not height % 2 and not width % 2 and min(height, width) // 2 >= smallest:
        height, width = height // 2, width // 2
        sizes.append((height, width))
    if len(sizes) == 1:
        raise ValueError(
            f"images of {height}×{width} pixels cannot be halved to {smallest}×{smallest} or more; expected even sides"
        )
    return sizes


def downsample(inputs: int, outputs: int, kernel: int = 4, *, bias: bool = True) -> nn.Conv2d:
    """Return a convolution from (B, inputs, H, W) to (B, outputs, H / 2, W / 2)."""
    return nn.Conv2d(inputs, outputs, kernel, stride=2, padding=(kernel - 1) // 2, bias=bias)


def upsample(inputs: int, outputs: int, kernel: int = 4, *, bias: bool = True) -> nn.ConvTranspose2d:
    """Return a convolution from (B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
    return nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=2, padding=(kernel - 1) // 2, output_padding=kernel % 2, bias=bias
    )
