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

#: A course is described by the means of its tenths; of fewer points, nothing is said.
PARTS = 10
#: How many evaluations tell whether a score got worse.
LEAST_EVALUATIONS = 5


@dataclass(frozen=True)
class Curve:
    """A metric by step, without what is not a number.

    What too few points do not say is NaN, which is neither above nor below a threshold: a rule that asks whether a
    number is above or below one need not ask for it.
    """

    points: Sequence[tuple[int, float]]

    @property
    def known(self) -> bool:
        """Whether there are enough points to speak of tenths."""
        return len(self.points) >= PARTS

    def tenths(self) -> list[float]:
        """Return the means of all ten tenths of the points, in their order; NaN if it is not `known`."""
        if not self.known:
            return [math.nan] * PARTS
        values = [value for _, value in self.points]
        bounds = [round(number * len(values) / PARTS) for number in range(PARTS + 1)]
        return [statistics.fmean(values[start:end]) for start, end in pairwise(bounds)]

    def fall(self) -> float:
        """Return by how much the last tenth is lower than the first one; NaN if it is not `known`."""
        first, *_, last = self.tenths()
        return first - last

    def last_fall(self) -> float:
        """Return by how much the last tenth is lower than the one before; NaN if it is not `known`."""
        *_, before, last = self.tenths()
        return before - last

    @property
    def noise(self) -> float:
        """The standard error of the difference of two tenths, if points scatter around a smooth course.

        NaN if it is not `known`.

        How much they do is known from the median of their second differences, in which a trend does not count: of a
        normal distribution, its size is 0.6745 √6 standard deviations of a point.
        """
        if not self.known:
            return math.nan
        values = [value for _, value in self.points]
        bends = [
            abs(before - 2 * at + after) for before, at, after in zip(values, values[1:], values[2:], strict=False)
        ]
        points = len(values) / PARTS
        return statistics.median(bends) / (0.6745 * math.sqrt(6)) * math.sqrt(2 / points)

    @property
    def end(self) -> float:
        """The mean of the last three values, or of as many as there are; NaN if there is none."""
        return statistics.fmean(value for _, value in self.points[-3:]) if self.points else math.nan

    @property
    def last(self) -> float:
        """The last value; NaN if there is none."""
        return self.points[-1][1] if self.points else math.nan

    def best(self, goal: str) -> tuple[int, float]:
        """Return the step and the value of the best point, the first one of several; step 0 and NaN without points."""
        choose = max if goal == "max" else min
        return choose(self.points, key=lambda point: point[1], default=(0, math.nan))


@dataclass(frozen=True)
class Curves:
    """The curves that tell how the training of a stage went.

    Args:
        loss: of the training steps, each point the mean since the one before.
        dev: the metric that decides on dev.
        goal: whether that should grow or fall, "max" or "min".
    """

    loss: Curve
    dev: Curve
    goal: str


def curves_of(records: Sequence[Mapping[str, Any]], judged_by: str, goal: str) -> Curves:
    """Return the curves of a stage.

    Args:
        records: the lines of ``metrics.jsonl``.
        judged_by: the metric that decides, such as "slots/f1"; empty if none does.
        goal: whether that should grow or fall.
    """
    dev = curve_of(records, f"{DEV}/{judged_by}") if judged_by else Curve([])
    return Curves(curve_of(records, TRAINING_LOSS), dev, goal)


def curve_of(records: Sequence[Mapping[str, Any]], name: str) -> Curve:
    """Return the curve of a metric, given the lines of ``metrics.jsonl``; without points if there is none."""
    found = [(int(record["step"]), record[name]) for record in records if record.get(name) is not None]
    return Curve([(step, float(value)) for step, value in found if math.isfinite(value)])
