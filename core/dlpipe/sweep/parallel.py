"""Parallel coordinates of a sweep: a line per trial through its value on each axis, to its score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlpipe.figures import GREY, VERMILION, drawing, shortened
from dlpipe.sweep.axes import Axis, Range
from dlpipe.sweep.planned import Sweep
from dlpipe.sweep.table import Metric, Row, best_rows

#: Choices of an axis that get a label.
MAX_LABELS = 12


def draw_parallel(path: Path, sweep: Sweep, rows: Sequence[Row], metric: Metric) -> bool:
    """Draw all trials that have a score; the best stand out.

    Args:
        path: of the PNG file.

    Returns:
        whether there was anything to draw: at least two axes and two trials.
    """
    scored = [(row, mean) for row in rows if (mean := row.mean(metric.name)) is not None]
    if len(sweep.axes) < 2 or len(scored) < 2:
        return False
    scores = [mean for _, mean in scored]
    low, high = min(scores), max(scores)
    ends = [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")] if high > low else [(0.5, f"{low:.4g}")]
    best = best_rows([row for row, _ in scored], metric)
    with drawing(path, 2.0 + 1.3 * len(sweep.axes), 4.2) as figure:
        axes: Any = figure.subplots()
        colors = figure_colors(scores)
        for number, (row, mean) in enumerate(scored):
            heights = [position(axis, row, key) for key, axis in sweep.axes.items()]
            heights.append((mean - low) / (high - low) if high > low else 0.5)
            style = {"color": VERMILION, "linewidth": 2.2, "zorder": 3} if number in best else {"color": colors[number]}
            axes.plot(range(len(heights)), heights, **{"linewidth": 0.9, "alpha": 0.8} | style)
        for place, axis in enumerate(sweep.axes.values()):
            _scale(axes, place, _ticks(axis))
        _scale(axes, len(sweep.axes), ends)
        names = [shortened(key.rpartition(".")[2], 14) for key in sweep.axes]
        axes.set_xticks(range(len(names) + 1), [*names, shortened(metric.name, 22)])
        axes.set(yticks=[], ylim=(-0.08, 1.08), xlim=(-0.3, len(names) + 0.45))
        axes.spines["left"].set_visible(False)
    return True


def figure_colors(scores: Sequence[float]) -> list[Any]:
    """Return a color for each score, from dark (least) to light."""
    from matplotlib import colormaps

    low, high = min(scores), max(scores)
    return [colormaps["viridis"](0.9 * (score - low) / (high - low) if high > low else 0.5) for score in scores]


def position(axis: Axis, row: Row, key: str) -> float:
    """Return where a trial crosses an axis, from 0 to 1."""
    if not isinstance(axis, Range):
        names = [choice.name for choice in axis]
        return names.index(row.trial.choices[key]) / max(1, len(names) - 1)
    value = row.trial.values[axis.path]
    if axis.scale == "log":
        return math.log(value / axis.low) / math.log(axis.high / axis.low)
    return float((value - axis.low) / (axis.high - axis.low))


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    if isinstance(axis, Range):
        low, high = axis.ends
        return [(0.0, low.name), (1.0, high.name)]
    last = max(1, len(axis) - 1)
    shown = [(place / last, shortened(choice.name, 14)) for place, choice in enumerate(axis)]
    return shown if len(shown) <= MAX_LABELS else [shown[0], shown[-1]]


def _scale(axes: Any, place: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.axvline(place, color=GREY, linewidth=0.8, zorder=0)
    for height, text in ticks:
        axes.text(place + 0.03, height, text, fontsize=8, va="center", color="black")
