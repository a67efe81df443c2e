"""What the metrics of a stage did during the training."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dlpipe.runs.metrics_log import TRAINING_LOSS
from dlpipe.splits import DEV

#: Fewer points say nothing about a course.
LEAST_POINTS = 5
#: A course is described by the means of its tenths.
PARTS = 10


@dataclass(frozen=True)
class Curve:
    """A metric by step, without what is not a number."""

    points: Sequence[tuple[int, float]]

    @property
    def known(self) -> bool:
        """Whether there are enough points to speak of a course."""
        return len(self.points) >= LEAST_POINTS

    def tenths(self) -> list[float]:
        """Return the means of the first tenth of the points, of the second …; of few points, each one by itself."""
        values = [value for _, value in self.points]
        count = min(PARTS, len(values))
        bounds = [round(number * len(values) / count) for number in range(count + 1)]
        return [statistics.fmean(values[start:end]) for start, end in pairwise(bounds)]

    @property
    def noise(self) -> float:
        """The standard error of the difference of two tenths, if points scatter around a smooth course.

        How much they do is known from the median of their second differences, in which a trend does not count: of a
        normal distribution, its size is 0.6745 √6 standard deviations of a point.
        """
        values = [value for _, value in self.points]
        bends = [
            abs(before - 2 * at + after) for before, at, after in zip(values, values[1:], values[2:], strict=False)
        ]
        points = max(1.0, len(values) / PARTS)
        return statistics.median(bends) / (0.6745 * math.sqrt(6)) * math.sqrt(2 / points)

    @property
    def end(self) -> float:
        """The mean of the last three values."""
        return statistics.fmean(value for _, value in self.points[-3:])

    def best(self, goal: str) -> tuple[int, float]:
        """Return the step and the value of the best point, the first one of several."""
        choose = max if goal == "max" else min
        return choose(self.points, key=lambda point: point[1])


@dataclass(frozen=True)
class Curves:
    """The curves that tell how the training of a stage went.

    Args:
        loss: of the training steps, each point the mean since the one before.
        dev: the monitored metric.
        goal: whether that should grow or fall, "max" or "min".
    """

    loss: Curve
    dev: Curve
    goal: str


def curves_of(records: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> Curves:
    """Return the curves of a stage.

    Args:
        records: the lines of ``metrics.jsonl``.
        known: a `dlpipe.runs.files.StageRecord`.
    """
    monitor = str(known.get("monitor", ""))
    dev = _curve(records, monitor) if monitor.startswith(f"{DEV}/") else Curve([])
    return Curves(_curve(records, TRAINING_LOSS), dev, str(known.get("monitor_goal", "")))


def _curve(records: Sequence[Mapping[str, Any]], name: str) -> Curve:
    found = [(int(record["step"]), record[name]) for record in records if record.get(name) is not None]
    return Curve([(step, float(value)) for step, value in found if math.isfinite(value)])
