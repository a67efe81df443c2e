"""Convolutions that halve an image, and those that double it again.

Axes: B images, C channels, H rows, W columns.
"""

from __future__ import annotations

from torch import nn


def halvings(image_shape: tuple[int, int, int], smallest: int) -> list[tuple[int, int]]:
    """Return the sizes (H, W) of an image that is halved while both sides stay whole and at least `smallest`.

    The first is the image's own. 64×64 goes down to 4×4 in four steps, 28×28 to 7×7 in two.

    Raises:
        ValueError: it cannot be halved once.
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


def half(inputs: int, outputs: int, kernel: int = 4, *, bias: bool = True) -> nn.Conv2d:
    """Return a convolution from (B, inputs, H, W) to (B, outputs, H / 2, W / 2)."""
    return nn.Conv2d(inputs, outputs, kernel, stride=2, padding=(kernel - 1) // 2, bias=bias)


def double(inputs: int, outputs: int, kernel: int = 4, *, bias: bool = True) -> nn.ConvTranspose2d:
    """Return a convolution from (B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
    return nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=2, padding=(kernel - 1) // 2, output_padding=kernel % 2, bias=bias
    )
