"""Figures of what a model for regression gets right and wrong.

Axes: N examples, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from dlpipe.figures import BLUE, GREY, VERMILION, drawing, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: At most this many targets are drawn, next to each other.
MAX_DRAWN = 4
#: From this number of examples on, a figure shows how many there are at a place, not each of them.
DENSE_FROM = 3000


def draw_predicted(path: Path, true: Tensor, predicted: Tensor, names: Sequence[str], r2: Sequence[float]) -> None:
    """Draw the true (N, T) against the predicted numbers (N, T), and the diagonal.

    Args:
        names: (T,) of the targets.
        r2: (T,) of each.
    """
    drawn = min(len(names), MAX_DRAWN)
    with drawing(path, 4.2 * drawn, 4.2) as figure:
        for number, axes in enumerate(figure.subplots(1, drawn, squeeze=False)[0]):
            ours, theirs = predicted[:, number], true[:, number]
            _points(axes, ours, theirs)
            ends = [float(min(ours.min(), theirs.min())), float(max(ours.max(), theirs.max()))]
            axes.plot(ends, ends, "--", color=GREY)
            score = "not defined" if math.isnan(r2[number]) else f"{r2[number]:.3f}"
            axes.set(xlabel="predicted", ylabel="true", title=f"{shortened(names[number], 32)}: R² {score}")


def draw_residuals(path: Path, predicted: Tensor, residuals: Tensor, names: Sequence[str]) -> None:
    """Draw the residuals (N, T) against the predicted numbers (N, T), and their distribution.

    Args:
        names: (T,) of the targets.
    """
    drawn = min(len(names), MAX_DRAWN)
    with drawing(path, 4.2 * drawn, 5.4) as figure:
        upper, lower = figure.subplots(2, drawn, squeeze=False, height_ratios=[3, 2])
        for number in range(drawn):
            _points(upper[number], predicted[:, number], residuals[:, number])
            upper[number].axhline(0, linestyle="--", color=GREY)
            upper[number].set(xlabel="predicted", ylabel="true − predicted", title=shortened(names[number], 32))
            lower[number].hist(
                residuals[:, number].numpy(), bins=_bins(len(residuals)), color=BLUE, edgecolor="white", linewidth=0.5
            )
            lower[number].axvline(0, linestyle="--", color=VERMILION)
            lower[number].set(xlabel="true − predicted", ylabel="examples")


def _points(axes: Axes, x: Tensor, y: Tensor) -> None:
    if len(x) < DENSE_FROM:
        axes.plot(x.numpy(), y.numpy(), "o", color=BLUE, alpha=0.5, markersize=4, markeredgewidth=0)
        return
    cells = axes.hexbin(x.numpy(), y.numpy(), gridsize=40, mincnt=1, bins="log", cmap="viridis")
    axes.figure.colorbar(cells, ax=axes, shrink=0.8, label="examples", format="%g")


def _bins(count: int) -> int:
    """Return the number of bins of a histogram: the root of the number of examples, from 5 to 50."""
    return min(50, max(5, round(math.sqrt(count))))
