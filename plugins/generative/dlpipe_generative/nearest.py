"""Whether a model draws what it was shown: the training image nearest to each drawn one.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.evaluation import Examples
from dlpipe.fields import NonNegative, Positive
from dlpipe_generative.drawn import drawn_at_random
from dlpipe_generative.pixels import PixelRange, to_unit
from dlpipe_generative.sheets import sheet
from dlpipe_generative.things import device_of, parts, things

WHO = "generative.nearest"
SHOWN = 16
#: So near to a training image are only so many of the real images that are no training images.
RARE = 0.01


class Nearest:
    """Look for copies of training images, by the distance of pixels.

    ``evaluate`` gives ``copies``, the share of drawn images that are nearer to a training image than all but 1 % of the
    images of the split are (about 0.01 where nothing is copied), and ``distance_ratio``, the median distance of drawn
    images to the nearest training image over that of the images of the split. ``write`` gives ``nearest.png``: drawn
    images above the training images nearest to them, the most suspicious first.

    Args:
        pixel_range: what black and white are.
        count: images to draw, and real ones to compare them with, at the most.
        seed: of what is drawn.
    """

    primary = None
    goal: Literal["min"] = "min"

    def __init__(self, pixel_range: tuple[float, float], *, count: Positive = 1000, seed: NonNegative = 2) -> None:
        self._range: PixelRange = pixel_range
        self._count, self._seed = count, seed
        self._rows = torch.empty(0)

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Draw images and look for the nearest."""
        known, _ = things(examples.data, "train", device_of(model), WHO)
        real, _ = things(examples.data, examples.split, device_of(model), WHO, self._count)
        drawn, _ = drawn_at_random(model, self._count, self._seed, WHO)
        distances, rows = nearest(drawn, known)
        usual, _ = nearest(real, known)
        worst = distances.argsort()[:SHOWN]
        self._rows = torch.cat([drawn[worst], known[rows[worst]]])
        return {
            "copies": float((distances < usual.quantile(RARE)).double().mean()),
            "distance_ratio": float(distances.median() / usual.median()),
        }

    def write(self, folder: Path) -> None:
        """Show the images of the last `evaluate` that are nearest to training images."""
        sheet(to_unit(self._rows, self._range), len(self._rows) // 2).save(folder / "nearest.png")


def nearest(images: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return for images (N, C, H, W) the distance to the nearest of known ones (M, C, H, W), and its row: (N,) each."""
    flat = known.flatten(1)
    found = [torch.cdist(some.flatten(1), flat).min(1) for (some,) in parts(images) if some is not None]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])
