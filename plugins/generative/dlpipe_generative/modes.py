"""How many modes of a mixture a generator covers, and how precisely.

Source: Srivastava et al. 2017, "VEEGAN", https://arxiv.org/abs/1705.07761, section 5.1 (high-quality samples: within
three standard deviations of a mode; a mode is captured if it has one of them).
Departs from it: a mode counts as covered from a tenth of its fair share on, so that a single outlier does not count.
Axes: N points, M modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.evaluation import Examples
from dlpipe.fields import Positive
from dlpipe.figures import BLUE, ORANGE, drawing
from dlpipe.report_items import ReportItem
from dlpipe_generative.distances import pairwise_distances
from dlpipe_generative.image_grid import ANIMATION, frame_path, write_animation
from dlpipe_generative.sampling import latent_seed, random_samples
from dlpipe_generative.split_tensors import split_tensors

WHO = "generative.modes"
NEAR, COVERED = 3.0, 0.1
SHOWN = 1000


@dataclass(frozen=True)
class ModeCoverage:
    """Coverage of the modes.

    Args:
        modes: number of modes that are covered.
        high_quality: fraction of points within three standard deviations of a mode.
        smallest_share: fraction of the high-quality points at the rarest mode, times the number of modes; 1 if all
            modes are equally frequent.
        covered_quality: `high_quality` times the fraction of modes that are covered.
    """

    modes: int
    high_quality: float
    smallest_share: float
    covered_quality: float


class Modes:
    """Count the modes that a generator of points covers.

    ``evaluate`` returns ``modes``, ``high_quality`` (the fraction of points within three standard deviations of a
    mode), ``smallest_share`` (1 if all modes are equally frequent) and ``covered_quality``, the product of
    ``high_quality`` and the fraction of covered modes, so that a generator that drops modes is not the best one.
    ``write`` plots the points; each evaluation during training adds a frame to an animation.

    Args:
        mode_centers: coordinates of the modes.
        mode_deviation: standard deviation of each mode, in each direction.
        count: number of points to generate, from the same latent vectors at each evaluation of a split.
    """

    primary = "covered_quality"
    goal: Literal["max"] = "max"

    def __init__(
        self, mode_centers: Sequence[Sequence[float]], mode_deviation: float, *, count: Positive = 5000
    ) -> None:
        self._centers, self._deviation, self._count = torch.tensor(mode_centers), mode_deviation, count
        self._points = self._real = torch.empty(0, 2)
        self._split = ""
        self._coverage: ModeCoverage | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Generate points and assign them to modes."""
        seed = latent_seed(0, examples.split)
        self._points = random_samples(model, examples.at_most(self._count), seed, WHO)[0].float().cpu()
        self._real = split_tensors(examples.data, examples.split, torch.device("cpu"), WHO, SHOWN)[0]
        self._split = examples.split
        self._coverage = mode_coverage(self._points, self._centers, self._deviation)
        return dict(vars(self._coverage))

    def write(self, folder: Path) -> list[ReportItem]:
        """Plot the points of the last `evaluate` together with real ones."""
        self._plot(folder / "points.png")
        assert self._coverage is not None
        return [
            ReportItem(
                "points.png",
                "Generated and real points",
                f"{self._describe()} {self._coverage.modes} of {len(self._centers)} modes are covered, and "
                f"{self._coverage.high_quality:.0%} of the generated points are within three standard deviations of a "
                "mode.",
            )
        ]

    def sample(self, folder: Path, step: int) -> list[ReportItem]:
        """Add a frame to the animation of the training."""
        frame = frame_path(folder, step)
        self._plot(frame)
        write_animation(folder)
        caption = f"{self._describe()} The latent vectors are the same at each step."
        return [
            ReportItem(ANIMATION, "Generated points, animated", caption),
            ReportItem(frame.name, "Generated points", caption),
        ]

    def _describe(self) -> str:
        return (
            f"Blue: {min(len(self._points), SHOWN)} generated points; orange: {len(self._real)} real ones of "
            f"{self._split}; the axes are their two coordinates. Blue should lie on every orange cluster, and nowhere "
            "else; a cluster without blue is a mode that the generator dropped."
        )

    def _plot(self, path: Path) -> None:
        reach = float(self._centers.abs().max()) * 1.4
        with drawing(path, 4, 4.3) as figure:
            axes = figure.subplots()
            for points, color, label in ((self._real, ORANGE, "real"), (self._points[:SHOWN], BLUE, "generated")):
                x, y = points.T.numpy()
                axes.scatter(x, y, s=4, color=color, alpha=0.5, label=label)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            axes.set(xlabel="first coordinate", ylabel="second coordinate")
            figure.legend(loc="outside upper center", ncols=2, frameon=False, markerscale=3)


def mode_coverage(points: Tensor, centers: Tensor, deviation: float) -> ModeCoverage:
    """Return the coverage of the modes (M, 2) by points (N, 2)."""
    distances, nearest = pairwise_distances(points, centers).min(1)
    near = nearest[distances <= NEAR * deviation]
    counts = near.bincount(minlength=len(centers))
    fair = len(points) / len(centers)
    smallest = float(counts.min()) * len(centers) / max(len(near), 1)
    covered, quality = int((counts >= COVERED * fair).sum()), len(near) / len(points)
    return ModeCoverage(covered, quality, smallest, quality * covered / len(centers))
