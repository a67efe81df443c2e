"""What a model draws from the same numbers, again and again while it learns.

Axes: N images, C channels, H rows, W columns, Z numbers an image is drawn from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from PIL.Image import Image
from torch import Tensor, nn

from dlpipe.evaluation import Examples
from dlpipe.fields import NonNegative, Positive
from dlpipe_generative.contracts import Draws, require
from dlpipe_generative.drawn import drawn, drawn_at_random
from dlpipe_generative.pixels import PixelRange, to_unit
from dlpipe_generative.sheets import frame, sheet, write_film
from dlpipe_generative.things import device_of, normal

WHO = "generative.samples"
#: Walks from one image to another, and images of each.
WALKS, STEPS = 8, 11


class Samples:
    """Draw images from numbers that stay the same; it gives no numbers.

    ``write`` gives ``samples.png`` and ``interpolation.png`` (walks from one image to another). After each evaluation
    during training, a picture is added to ``samples/<name>/`` of the run, and the film ``training.gif`` of them is
    made anew. Where the model can be told a class, each column shows one.

    Args:
        pixel_range: what black and white are.
        count: images to draw.
        seed: of the numbers that they are drawn from.
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(self, pixel_range: tuple[float, float], *, count: Positive = 64, seed: NonNegative = 0) -> None:
        self._range: PixelRange = pixel_range
        self._count, self._seed = count, seed
        self._images = self._walks = torch.empty(0)
        self._across: int | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Draw; there is nothing to measure."""
        self._across = require(model, Draws, WHO).num_classes  # type: ignore[type-abstract]
        self._images, _ = drawn_at_random(model, self._count, self._seed, WHO)
        self._walks = walks(model, WALKS, STEPS, self._seed, WHO)
        return {}

    def write(self, folder: Path) -> None:
        """Write what the last `evaluate` drew."""
        self._sheet().save(folder / "samples.png")
        sheet(to_unit(self._walks, self._range), STEPS).save(folder / "interpolation.png")

    def sample(self, folder: Path, step: int) -> None:
        """Add a picture to the film of the training."""
        self._sheet().save(frame(folder, step))
        write_film(folder)

    def _sheet(self) -> Image:
        return sheet(to_unit(self._images, self._range), self._across)


def walks(model: nn.Module, count: int, steps: int, seed: int, who: str) -> Tensor:
    """Return images (count · steps, C, H, W) on walks from one random image to another, each of one class."""
    draws, device = require(model, Draws, who), device_of(model)  # type: ignore[type-abstract]
    ends = normal(2 * count, draws.latent_dim, seed, device)
    latent = spherical(ends[:count], ends[count:], steps)
    targets = None
    if draws.num_classes is not None:
        targets = (torch.arange(count, device=device) % draws.num_classes).repeat_interleave(steps)
    return drawn(model, latent, targets, who)


def spherical(starts: Tensor, ends: Tensor, steps: int) -> Tensor:
    """Return numbers (N · steps, Z) on arcs from starts (N, Z) to ends (N, Z), pair by pair.

    A straight line would lead through numbers that are smaller than those of N(0, 1) ever are, where Z is large (White
    2016, "Sampling Generative Networks", https://arxiv.org/abs/1609.04468, section 2.1).
    """
    shares = torch.linspace(0, 1, steps, device=starts.device)[None, :, None]
    cosine = nn.functional.cosine_similarity(starts, ends, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = cosine.acos()[:, None, None]
    mixed = ((1 - shares) * angle).sin() * starts[:, None] + (shares * angle).sin() * ends[:, None]
    return (mixed / angle.sin()).flatten(0, 1)
