"""Learning curves of a sweep: a thin line per seed, a thick one for the mean, and a band for its interval.

Of fewer than three seeds, the points are drawn instead of an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dlpipe.figures import COLOURS, drawing, shortened
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.sweep.table import Metric, Row

#: The confidence level of the bootstrap interval of the mean.
CONFIDENCE = 0.95
RESAMPLES = 2000
#: Fewer seeds say nothing about their spread: of two, every resampled mean lies between the two.
FEWEST_SEEDS = 3


def draw_curves(path: Path, rows: Sequence[Row], metric: Metric) -> bool:
    """Draw a metric on the dev split over the steps of each trial; only the best trials if there are many.

    Args:
        path: of the PNG file.
        metric: the metric that trials are compared by; its values on "dev" are drawn.

    Returns:
        whether there were any values to draw.
    """
    name, found = f"dev/{metric.name.partition('/')[2]}", curves_of(rows, metric)
    if not found:
        return False
    with drawing(path, 7, 4.2) as figure:
        axes = figure.subplots()
        seeds = max(len(row.outcomes) for row in rows)
        marker = "." if 1 < seeds < FEWEST_SEEDS else ""
        for (row, curves), colour in zip(found, COLOURS, strict=False):
            for single in curves:
                axes.plot(list(single), list(single.values()), color=colour, linewidth=0.6, alpha=0.45, marker=marker)
            steps, mean, low, high = band(curves)
            label = shortened(row.trial.label, 40)
            if len(steps) == 1:  # a model that was fitted at once: a level to compare the curves with
                axes.axhline(mean[0], color=colour, linewidth=1.2, linestyle="--", label=label)
                continue
            axes.plot(steps, mean, color=colour, linewidth=1.8, label=label)
            if len(curves) >= FEWEST_SEEDS:
                axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
        left_out = len(found) - len(COLOURS)
        interval = f" with {CONFIDENCE:.0%} bootstrap interval" if seeds >= FEWEST_SEEDS else ""
        title = f"mean of {seeds} seeds{interval}, and each seed" if seeds > 1 else ""
        axes.set(xlabel="step", ylabel=name, title=title)
        axes.legend(title=f"the best {len(COLOURS)} of {len(found)} trials" if left_out > 0 else None, frameon=False)
    return True


def curves_of(rows: Sequence[Row], metric: Metric) -> list[tuple[Row, list[dict[int, float]]]]:
    """Return the trials with the curves of their seeds on the dev split, the best first."""
    name = f"dev/{metric.name.partition('/')[2]}"
    found = [(row, curves) for row in rows if (curves := [c for one in row.done if (c := curve(one, name))])]
    if metric.goal:
        found.sort(key=lambda pair: (pair[0].mean(metric.name) or 0) * (-1 if metric.goal == "max" else 1))
    return found


def curve(outcome: Mapping[str, object], metric: str) -> dict[int, float]:
    """Return a metric of one run by step."""
    records = MetricsLog(Path(str(outcome["log"]))).records()
    return {record["step"]: record[metric] for record in records if record.get(metric) is not None}


def band(curves: Sequence[Mapping[int, float]]) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
    """Return the steps (T,) common to all curves, and the mean and its bootstrap interval there, each (T,).

    The percentile bootstrap (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3) resamples
    whole curves, one per seed, with replacement. With few seeds the interval tends to be too narrow.
    """
    steps = sorted(set.intersection(*(set(single) for single in curves)))
    values = np.array([[single[step] for step in steps] for single in curves])  # (S, T)
    draws = np.random.default_rng(0).integers(len(curves), size=(RESAMPLES, len(curves)))
    means = values[draws].mean(1)  # (RESAMPLES, T)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return steps, values.mean(0), low, high
