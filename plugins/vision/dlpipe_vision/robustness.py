"""Accuracy of a classifier on noisy, shifted and rotated images.

Axes: B images of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Answers, Examples, ExampleScores, collect
from dlpipe.fields import Positive, PositiveFloat
from dlpipe.figures import BLUE, GREY, drawing
from dlpipe.report_items import ReportItem
from dlpipe_vision.augment import affine, noisy
from dlpipe_vision.labeled_images import require_labeled_images

#: Transforms images (B, C, H, W) with pixels from 0 to 1.
Transform = Callable[[Tensor, torch.Generator], Tensor]
#: Units of each transformation, for the axes of figures.
UNITS = {"noise": "standard deviation (pixels 0 to 1)", "shift": "pixels", "rotate": "degrees"}


class Robustness:
    """Evaluate an image classifier on transformed images; they are the same each time.

    ``evaluate`` returns ``accuracy`` on the unchanged images, and ``accuracy_noise_0.25``, ``accuracy_shift_2``,
    ``accuracy_rotate_15`` … for each transformation. Pixels from outside an image are black.
    The model runs over the split once per noise level, four times per shift and twice per angle;
    ``splits = ["test"]`` avoids this during training. ``write`` writes ``robustness.png``.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: how many classes there are.
        noise: standard deviations of normal noise on every pixel (0 to 1); the result is not clipped to 0 to 1.
        shift: distances in pixels; the score is the mean over right, left, down and up.
        rotate: angles in degrees; the score is the mean over both directions.
    """

    primary = "accuracy"
    goal: Literal["max"] = "max"

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        noise: Sequence[PositiveFloat] = (0.25, 0.5, 1.0),
        shift: Sequence[Positive] = (1, 2, 3),
        rotate: Sequence[PositiveFloat] = (15, 30),
    ) -> None:
        _, height, width = image_shape
        if too_large := [distance for distance in shift if distance >= min(height, width)]:
            raise InputError(
                f"shift = {too_large[0]} moves everything out of images of {height}×{width} pixels; "
                f"expected 1 to {min(height, width) - 1}"
            )
        self._num_classes = num_classes
        self._levels: dict[str, Sequence[float]] = {"noise": noise, "shift": shift, "rotate": rotate}
        self._metrics: dict[str, float] = {}
        self._unchanged: Answers | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Evaluate the model on unchanged and on transformed images."""
        data = require_labeled_images(examples.data, "vision.robustness")

        def answers_of(passed: Any) -> Answers:
            return collect(passed, self._num_classes, model)

        self._unchanged = answers_of(examples.predictions(model))
        self._metrics = {"accuracy": self._unchanged.accuracy}
        for name, level in self._all_levels():
            answers = [
                answers_of(examples.predictions_on(model, data.transformed(examples.split, transform)))
                for transform in transforms(name, level)
            ]
            self._metrics[_metric_name(name, level)] = sum(one.accuracy for one in answers) / len(answers)
        return dict(self._metrics)

    def example_scores(self) -> ExampleScores:
        """Return 1 for each unchanged image that the last `evaluate` found to be right, 0 for the others."""
        assert self._unchanged is not None
        return ExampleScores(self._unchanged.rows.tolist(), self._unchanged.right.int().tolist())

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw accuracy against the strength of each transformation."""
        panels = [name for name, levels in self._levels.items() if levels]
        if not panels:
            return []
        with drawing(folder / "robustness.png", 3.2 * len(panels), 3.2) as figure:
            figures = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
            for axes, name in zip(figures, panels, strict=True):
                levels = sorted(set(self._levels[name]))
                scores = [self._metrics["accuracy"], *(self._metrics[_metric_name(name, level)] for level in levels)]
                axes.axhline(scores[0], color=GREY, linestyle="--", linewidth=1)
                axes.plot([0, *levels], scores, "o-", color=BLUE)
                for level, score in zip([0, *levels], scores, strict=True):
                    axes.annotate(f"{score:.2f}", (level, score), (3, 5), textcoords="offset points")
                axes.set(title=name, xlabel=UNITS[name], ylim=(0, 1.08), xticks=[0, *levels])
                axes.margins(x=0.15)
                axes.set_xticklabels([f"{level:g}" for level in (0, *levels)])
            figures[0].set_ylabel("accuracy")
        return [
            ReportItem(
                "robustness.png",
                "Accuracy on transformed images",
                f"Accuracy (0 to 1) against the strength of: {', '.join(panels)}; the accuracy for a shift or rotation "
                f"is the mean over its directions. The dashed line is the accuracy on unchanged images, "
                f"{self._metrics['accuracy']:.2f}: the closer a curve stays to it, the more robust the model.",
            )
        ]

    def _all_levels(self) -> Iterator[tuple[str, float]]:
        return ((name, level) for name, levels in self._levels.items() for level in levels)


def transforms(name: str, level: float) -> list[Transform]:
    """Return the transformations of a level: one for noise, two for an angle, four for a shift."""
    if name == "noise":
        return [lambda images, generator: noisy(images, level, generator)]
    if name == "shift":
        return [_affine_transform(0, level * right, level * down) for right, down in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    return [_affine_transform(angle, 0, 0) for angle in (level, -level)]


def _affine_transform(angle: float, right: float, down: float) -> Transform:
    def transform(images: Tensor, generator: torch.Generator) -> Tensor:
        ones = images.new_ones(len(images))
        shift = images.new_tensor([right, down]).expand(len(images), 2)
        return affine(images, ones * angle, ones, shift)

    return transform


def _metric_name(name: str, level: float) -> str:
    return f"accuracy_{name}_{level:g}"
