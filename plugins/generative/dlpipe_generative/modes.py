"""How many modes of a mixture a generator draws, and how exactly.

Source: Srivastava et al. 2017, "VEEGAN", https://arxiv.org/abs/1705.07761, section 5.1 (high-quality samples: within
three standard deviations of a mode; a mode is captured if it has one of them).
Departs from it: a mode counts as covered from a tenth of its fair share on, so that a stray point is no cover.
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
from dlpipe_generative.drawn import drawn_at_random
from dlpipe_generative.sheets import frame, write_film
from dlpipe_generative.things import things

WHO = "generative.modes"
NEAR, COVERED = 3.0, 0.1
SHOWN = 1000


@dataclass(frozen=True)
class Coverage:
    """What was found of the modes.

    Args:
        modes: how many are covered.
        high_quality: share of points within three standard deviations of a mode.
        smallest_share: of the high-quality points, that of the rarest mode, times the number of modes; 1 if all are
            equally frequent.
    """

    modes: int
    high_quality: float
    smallest_share: float


class Modes:
    """Count the modes that a generator of points covers.

    ``evaluate`` gives ``modes``, ``high_quality`` (the share of points within three standard deviations of a mode) and
    ``smallest_share`` (1 if all modes are equally frequent). ``write`` and each evaluation during training give
    pictures of points, the latter also a film.

    Args:
        mode_centers: where the modes are.
        mode_deviation: standard deviation around a mode, in each direction.
        count: points to draw, always from the same numbers.
    """

    primary = "high_quality"
    goal: Literal["max"] = "max"

    def __init__(
        self, mode_centers: Sequence[Sequence[float]], mode_deviation: float, *, count: Positive = 5000
    ) -> None:
        self._centers, self._deviation, self._count = torch.tensor(mode_centers), mode_deviation, count
        self._points = self._real = torch.empty(0, 2)

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Draw points and look where they lie."""
        self._points = drawn_at_random(model, self._count, 0, WHO)[0].float().cpu()
        self._real = things(examples.data, examples.split, torch.device("cpu"), WHO, SHOWN)[0]
        return dict(vars(coverage(self._points, self._centers, self._deviation)))

    def write(self, folder: Path) -> None:
        """Draw the points of the last `evaluate` beside real ones."""
        self._draw(folder / "points.png")

    def sample(self, folder: Path, step: int) -> None:
        """Add a picture to the film of the training."""
        self._draw(frame(folder, step), f"step {step}")
        write_film(folder)

    def _draw(self, path: Path, title: str = "") -> None:
        reach = float(self._centers.abs().max()) * 1.4
        with drawing(path, 4, 4) as figure:
            axes = figure.subplots()
            for points, colour, label in ((self._real, ORANGE, "real"), (self._points[:SHOWN], BLUE, "drawn")):
                across, up = points.T.numpy()
                axes.scatter(across, up, s=4, color=colour, alpha=0.5, label=label)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title)
            axes.legend(loc="upper right")


def coverage(points: Tensor, centers: Tensor, deviation: float) -> Coverage:
    """Return which of the modes (M, 2) points (N, 2) cover."""
    distances, nearest = torch.cdist(points, centers).min(1)
    near = nearest[distances <= NEAR * deviation]
    counts = near.bincount(minlength=len(centers))
    fair = len(points) / len(centers)
    smallest = float(counts.min()) * len(centers) / max(len(near), 1)
    return Coverage(int((counts >= COVERED * fair).sum()), len(near) / len(points), smallest)
