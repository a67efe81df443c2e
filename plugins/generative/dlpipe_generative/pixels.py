"""The pixel ranges of models and data.

Axes: B images, C channels, H rows, W columns.
"""

from __future__ import annotations

from torch import Tensor

#: The values of black and white: the fact ``pixel_range`` of the data.
PixelRange = tuple[float, float]
UNIT: PixelRange = (0.0, 1.0)
SYMMETRIC: PixelRange = (-1.0, 1.0)
_NAMES = {UNIT: "unit", SYMMETRIC: "symmetric"}


def check_range(model: str, found: PixelRange, expected: PixelRange) -> None:
    """Check that the pixel range of the data is the one that a model generates.

    Raises:
        ValueError: naming the setting to change.
    """
    if tuple(found) != expected:
        raise ValueError(
            f"{model} generates pixels from {expected[0]:g} to {expected[1]:g}, but those of the data range from "
            f'{found[0]:.4g} to {found[1]:.4g}; set normalize = "{_NAMES[expected]}" for the data'
        )


def to_unit(images: Tensor, pixel_range: PixelRange) -> Tensor:
    """Map images from `pixel_range` to 0 (black) to 1 (white), and clamp them."""
    low, high = pixel_range
    return ((images.float() - low) / (high - low)).clamp(0, 1)
