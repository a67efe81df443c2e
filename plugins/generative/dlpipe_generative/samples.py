"""Samples from fixed latent vectors, during and after training.

Axes: N images, C channels, H rows, W columns, Z latent dimensions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.evaluation import Examples
from dlpipe.fields import NonNegative, Positive
from dlpipe.report_items import ReportItem
from dlpipe_generative.image_grid import ANIMATION, frame_path, image_grid, write_animation
from dlpipe_generative.pixels import PixelRange, to_unit
from dlpipe_generative.protocols import GenerativeModel, require
from dlpipe_generative.sampling import generate_samples, random_samples
from dlpipe_generative.split_tensors import class_names, device_of, standard_normal

WHO = "generative.samples"
#: Number of interpolations, and images of each.
NUM_INTERPOLATIONS, STEPS = 8, 11


class Samples:
    """Generate images from fixed latent vectors; returns no metrics.

    ``write`` writes ``samples.png`` and ``interpolation.png`` (interpolations between random images). Each evaluation
    during training adds a picture to ``samples/<name>/`` of the run and rewrites their animation ``training.gif``. If
    the model is conditional, each column of a picture shows one class.

    Args:
        pixel_range: values of black and white.
        count: number of images to generate.
        seed: of the latent vectors.
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(self, pixel_range: tuple[float, float], *, count: Positive = 64, seed: NonNegative = 0) -> None:
        self._range: PixelRange = pixel_range
        self._count, self._seed = count, seed
        self._images = self._interpolations = torch.empty(0)
        self._columns: int | None = None
        self._classes: list[str] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Generate the images; there is nothing to measure."""
        self._columns = require(model, GenerativeModel, WHO).num_classes  # type: ignore[type-abstract]
        self._classes = class_names(examples.data, None if self._columns is None else torch.arange(self._columns))
        self._images, _ = random_samples(model, self._count, self._seed, WHO)
        self._interpolations = random_interpolations(model, NUM_INTERPOLATIONS, STEPS, self._seed, WHO)
        return {}

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the images of the last `evaluate`."""
        self._grid().save(folder / "samples.png")
        rows = len(self._interpolations) // STEPS
        image_grid(
            to_unit(self._interpolations, self._range),
            STEPS,
            row_names=[self._classes[row % len(self._classes)] for row in range(rows)] if self._classes else (),
            column_names=interpolation_names(STEPS),
        ).save(folder / "interpolation.png")
        classes = "" if self._columns is None else ", all of the class on the left"
        return [
            ReportItem(
                "samples.png",
                "Generated images",
                f"{self._describe()} They should be as sharp and as varied as the data; images that repeat are a sign "
                "of mode collapse.",
                "image",
            ),
            ReportItem(
                "interpolation.png",
                "Interpolations",
                f"Each of the {rows} rows leads in {STEPS} images from one random latent "
                f"vector to another{classes}. Gradual changes through plausible images are good; jumps, or the same "
                "image for most of a row, are not.",
                "image",
            ),
        ]

    def sample(self, folder: Path, step: int) -> list[ReportItem]:
        """Add a frame to the animation of the training."""
        frame = frame_path(folder, step)
        self._grid().save(frame)
        write_animation(folder)
        caption = f"{self._describe()} The latent vectors are the same at each step: a cell shows how one develops."
        return [
            ReportItem(ANIMATION, "Generated images, animated", caption, "animation"),
            ReportItem(frame.name, "Generated images", caption, "image"),
        ]

    def _describe(self) -> str:
        if self._columns is None:
            return f"{len(self._images)} images from random latent vectors, unsorted."
        return f"{len(self._images)} images from random latent vectors; each column is a class."

    def _grid(self) -> Image:
        return image_grid(to_unit(self._images, self._range), self._columns, column_names=self._classes)


def interpolation_names(steps: int) -> list[str]:
    """Return the names of the columns of an interpolation: which share of the way to the last image each is."""
    return [f"{100 * step / (steps - 1):.0f} %" for step in range(steps)]


def random_interpolations(model: nn.Module, count: int, steps: int, seed: int, who: str) -> Tensor:
    """Return images (count · steps, C, H, W) on interpolations between random images, each of one class."""
    generative, device = require(model, GenerativeModel, who), device_of(model)  # type: ignore[type-abstract]
    ends = standard_normal(2 * count, generative.latent_dim, seed, device)
    latent = spherical_interpolation(ends[:count], ends[count:], steps)
    targets = None
    if generative.num_classes is not None:
        targets = (torch.arange(count, device=device) % generative.num_classes).repeat_interleave(steps)
    return generate_samples(model, latent, targets, who)


def spherical_interpolation(starts: Tensor, ends: Tensor, steps: int) -> Tensor:
    """Return latent vectors (N · steps, Z) on arcs from starts (N, Z) to ends (N, Z), pair by pair.

    For large Z, a straight line would pass through vectors that are much shorter than N(0, 1) vectors ever are (White
    2016, "Sampling Generative Networks", https://arxiv.org/abs/1609.04468, section 2.1). Departs from it: the length
    changes linearly, since on its arcs it grows without bound for vectors of opposite directions and different lengths.
    Between exactly opposite ones, of which there are many arcs (and none for Z = 1), the line is straight.
    """
    shares = torch.linspace(0, 1, steps, device=starts.device)[None, :, None]
    starts, ends = starts[:, None], ends[:, None]
    cosine = F.cosine_similarity(starts, ends, dim=2)[:, :, None].clamp(-1 + 1e-6, 1 - 1e-6)
    angle = cosine.acos()
    mixed = ((1 - shares) * angle).sin() * F.normalize(starts, dim=2) + (shares * angle).sin() * F.normalize(
        ends, dim=2
    )
    lengths = starts.norm(dim=2, keepdim=True).lerp(ends.norm(dim=2, keepdim=True), shares)
    arcs, lines = F.normalize(mixed, dim=2) * lengths, starts.lerp(ends, shares)
    return torch.where(cosine > -1 + 1e-6, arcs, lines).flatten(0, 1)
