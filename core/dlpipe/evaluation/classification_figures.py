"""Figures of what a classifier got right and wrong.

Axes: K classes, M bins of confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from dlpipe.figures import BLUE, GREY, ORANGE, drawing, shortened, thinned
from dlpipe.messages import display_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Up to this many classes, cells are large enough for their numbers.
NUMBERED = 20
#: At most this many class names along an axis.
NAMED = 40


def draw_confusion(path: Path, confusion: Tensor, labels: Sequence[str]) -> None:
    """Draw a confusion matrix (K, K): counts, and shares of the true class."""
    size = min(max(0.45 * len(labels), 2.2), 9.0)
    margin = 0.09 * max(display_width(shortened(label)) for label in labels)
    shares = (confusion / confusion.sum(1, keepdim=True)).nan_to_num(0.0)
    with drawing(path, 2 * (size + margin + 1.1), size + margin + 0.7) as figure:
        left, right = figure.subplots(1, 2)
        _matrix(left, confusion.double(), labels, "{:.0f}", "examples")
        _matrix(right, shares, labels, "{:.2f}", "share of the true class")


def _matrix(axes: Axes, values: Tensor, labels: Sequence[str], shown: str, title: str) -> None:
    highest = max(float(values.max()), 1.0)
    # The root of the values: a few mistakes next to hundreds of right predictions stay visible.
    image = axes.imshow(values.sqrt().numpy(), cmap="Blues", vmin=0, vmax=highest**0.5)
    ticks = thinned(labels, NAMED)
    upright = max(map(display_width, ticks.values())) > 3
    axes.set_xticks(list(ticks), list(ticks.values()), rotation=90 if upright else 0)
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if len(labels) <= NUMBERED:
        _number(axes, values, shown, highest)
    else:
        levels = sorted({float(shown.format(step * highest)) for step in (0, 0.01, 0.1, 0.25, 0.5, 1)})
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.8, ticks=[level**0.5 for level in levels])
        bar.ax.set_yticklabels([f"{level:g}" for level in levels])


def _number(axes: Axes, values: Tensor, shown: str, highest: float) -> None:
    """Write the number into each cell that is not empty, small enough to fit."""
    longest = max(len(shown.format(value)) for value in values.flatten().tolist())
    for row, counts in enumerate(values.tolist()):
        for column, value in enumerate(counts):
            if value:
                color = "white" if value > 0.4 * highest else "black"
                axes.text(
                    column,
                    row,
                    shown.format(value),
                    ha="center",
                    va="center",
                    color=color,
                    fontsize=min(9, 32 / longest),
                )


def draw_calibration(path: Path, counts: Tensor, confidence: Tensor, accuracy: Tensor, error: float) -> None:
    """Draw accuracy against confidence, and the distribution of confidence.

    Args:
        counts: (M,) predictions in bins of equal width.
        confidence: (M,) their mean confidence, NaN in an empty bin.
        accuracy: (M,) share of right ones, NaN in an empty bin.
        error: expected calibration error.
    """
    width = 1 / len(counts)
    middles = [(place + 0.5) * width for place in range(len(counts))]
    shares, heights = (counts / counts.sum()).tolist(), accuracy.nan_to_num(0.0).tolist()
    with drawing(path, 4.6, 5.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.bar(middles, heights, width, color=BLUE, edgecolor="white", label="accuracy of the bin")
        upper.plot([0, 1], [0, 1], "--", color=GREY, label="perfect calibration")
        upper.plot(
            confidence.tolist(),
            accuracy.tolist(),
            "o",
            color=ORANGE,
            markeredgecolor="black",
            label="at its mean confidence",
        )
        upper.set(ylabel="accuracy", ylim=(0, 1.02), xlim=(0, 1))
        upper.set_title(f"Calibration: expected error {error:.3f}")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
        lower.bar(middles, shares, width, color=GREY, edgecolor="white")
        lower.set(xlabel="confidence", ylabel="share of examples")
