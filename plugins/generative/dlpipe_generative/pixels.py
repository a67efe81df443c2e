"""Between the pixels of a model and those of a picture; which range a model can draw.

Axes: B images, C channels, H rows, W columns.
"""

from __future__ import annotations

from torch import Tensor

#: What black and white are for a model: the fact ``pixel_range`` of the data.
PixelRange = tuple[float, float]
UNIT: PixelRange = (0.0, 1.0)
SYMMETRIC: PixelRange = (-1.0, 1.0)
_NAMES = {UNIT: "unit", SYMMETRIC: "symmetric"}


def check_range(model: str, found: PixelRange, wanted: PixelRange) -> None:
    """Refuse data whose pixels are not what a model draws.

    Raises:
        ValueError: naming what to set.
    """
    if tuple(found) != wanted:
        raise ValueError(
            f"{model} draws pixels from {wanted[0]:g} to {wanted[1]:g}, but those of the data run from {found[0]:.4g} "
            f'to {found[1]:.4g}; set [data] normalize = "{_NAMES[wanted]}"'
        )


def to_unit(images: Tensor, pixel_range: PixelRange) -> Tensor:
    """Return images as a person sees them: from 0 (black) to 1 (white), what lies beyond cut off."""
    low, high = pixel_range
    return ((images.float() - low) / (high - low)).clamp(0, 1)
