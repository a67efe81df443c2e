"""Learning curves of a sweep: a thin line per run, a thick one for the mean, and a band for its interval.

The metric that trials are compared by has an axis for train and one for dev. Where nothing is judged on dev, the loss
of the training has one. Of fewer than three runs, the points are drawn instead of an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlpipe.figures import COLORS, drawing, shortened
from dlpipe.report.curves import LARGE_RATIO
from dlpipe.runs.metrics_log import TRAINING_LOSS, MetricsLog
from dlpipe.sweep.table import Metric, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The confidence level of the bootstrap interval of the mean.
CONFIDENCE = 0.95
RESAMPLES = 2000
#: Fewer runs say nothing about their spread: of two, every resampled mean lies between the two.
FEWEST_RUNS = 3
#: Size of a panel in inches, alone and beside others.
WIDTH, WIDTH_BESIDE, HEIGHT = 7, 5.2, 4.2


@dataclass(frozen=True)
class Panel:
    """The curves of a metric.

    Args:
        name: such as "dev/digits/accuracy".
        trials: each with the curves of its runs, the best first.
    """

    name: str
    trials: Sequence[tuple[Row, Sequence[Mapping[int, float]]]]

    @property
    def log(self) -> bool:
        """Whether its axis is logarithmic: of a loss that varies a lot."""
        known = [value for _, curves in self.trials for single in curves for value in single.values()]
        return self.name == TRAINING_LOSS and min(known) > 0 and max(known) > LARGE_RATIO * min(known)


def draw_curves(path: Path, rows: Sequence[Row], metric: Metric) -> bool:
    """Draw the curves of each trial over the steps; only the best trials if there are many.

    Args:
        path: of the PNG file.
        metric: the metric that trials are compared by.

    Returns:
        whether there were any values to draw.
    """
    panels = panels_of(rows, metric)
    if not panels:
        return False
    runs = max(len(row.outcomes) for row in rows)
    interval = f" with {CONFIDENCE:.0%} bootstrap interval" if runs >= FEWEST_RUNS else ""
    title = f"mean of {runs} runs{interval}, and each run" if runs > 1 else ""
    width = WIDTH if len(panels) == 1 else WIDTH_BESIDE * len(panels)
    with drawing(path, width, HEIGHT) as figure:
        places: Sequence[Axes] = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(places, panels, strict=True):
            _draw(axes, panel, runs)
            axes.locator_params(axis="x", nbins=6, integer=True)
            axes.set(xlabel="step", ylabel=panel.name, title=title)
        places[-1].legend(title=left_out(panels[-1], metric), frameon=False)
    return True


def left_out(panel: Panel, metric: Metric) -> str | None:
    """Return in words which trials are drawn, None if all are."""
    count = len(panel.trials)
    which = "best" if metric.goal else "first"
    return f"the {which} {len(COLORS)} of {count} trials" if count > len(COLORS) else None


def _draw(axes: Axes, panel: Panel, runs: int) -> None:
    marker = "." if 1 < runs < FEWEST_RUNS else ""
    for (row, curves), color in zip(panel.trials, COLORS, strict=False):
        for single in curves:
            axes.plot(list(single), list(single.values()), color=color, linewidth=0.6, alpha=0.45, marker=marker)
        steps, mean, low, high = band(curves)
        label = shortened(row.trial.label, 40)
        if len(steps) == 1:  # a model that was fitted at once: a level to compare the curves with
            axes.axhline(mean[0], color=color, linewidth=1.2, linestyle="--", label=label)
            continue
        axes.plot(steps, mean, color=color, linewidth=1.8, label=label)
        if len(curves) >= FEWEST_RUNS:
            axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
    if panel.log:
        axes.set_yscale("log")


def panels_of(rows: Sequence[Row], metric: Metric) -> list[Panel]:
    """Return what to draw, train before dev: the metric, and the loss of the training where dev does not judge it."""
    name = metric.name.partition("/")[2]
    names = [f"train/{name}", f"dev/{name}"]
    found = {each: trials for each in (*names, TRAINING_LOSS) if (trials := _trials(rows, each, metric))}
    of_steps = found.pop(TRAINING_LOSS, [])
    if names[1] not in found and any(len(single) > 1 for _, curves in of_steps for single in curves):
        found[TRAINING_LOSS] = of_steps
    return [Panel(each, trials) for each, trials in found.items()]


def _trials(rows: Sequence[Row], name: str, metric: Metric) -> list[tuple[Row, list[dict[int, float]]]]:
    """Return the trials with the curves of their runs, the best first, those without a score last."""

    def rank(trial: tuple[Row, object]) -> tuple[bool, float]:
        score = trial[0].mean(metric.name)
        return score is None, (score or 0.0) * (-1 if metric.goal == "max" else 1)

    found = [(row, curves) for row in rows if (curves := [c for one in row.done if (c := curve(one, name))])]
    if metric.goal:
        found.sort(key=rank)
    return found


def curve(outcome: Mapping[str, object], metric: str) -> dict[int, float]:
    """Return a metric of one run by step."""
    records = MetricsLog(Path(str(outcome["log"]))).records()
    return {record["step"]: record[metric] for record in records if record.get(metric) is not None}


def band(curves: Sequence[Mapping[int, float]]) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
    """Return the steps (T,) common to all curves, and the mean and its bootstrap interval there, each (T,).

    The percentile bootstrap (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3) resamples
    whole curves, one per run, with replacement. With few runs the interval tends to be too narrow.
    """
    steps = sorted(set.intersection(*(set(single) for single in curves)))
    values = np.array([[single[step] for step in steps] for single in curves])  # (S, T)
    draws = np.random.default_rng(0).integers(len(curves), size=(RESAMPLES, len(curves)))
    means = values[draws].mean(1)  # (RESAMPLES, T)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return steps, values.mean(0), low, high
