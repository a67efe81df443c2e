"""The metrics of a stage as charts: one for each metric, with all splits that have it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from dlpipe.report.page import MAX_POINTS, Chart, Series, thinned
from dlpipe.splits import DEV, TEST, TRAIN

#: What a line of ``metrics.jsonl`` has besides metrics.
NO_METRICS = ("step", "epoch", "time", "seconds", "steps_per_second")
#: What a trainer measures in its steps, where an evaluator judges training examples by the same metric.
STEPS = "training steps"
#: Color (of `dlpipe.figures.COLORS`) of each split; the first one is drawn behind the others.
SPLIT_COLORS = {STEPS: 7, TRAIN: 0, DEV: 1, TEST: 2}
#: What is drawn on a logarithmic axis where it varies by this factor.
LARGE_RATIO = 50.0


def draw_metrics(records: Iterable[Mapping[str, Any]], judged_by: str) -> list[Chart]:
    """Return the charts of a stage.

    Args:
        records: the lines of ``metrics.jsonl``.
        judged_by: the metric that decides, such as "slots/f1": its chart is the first. Then come the losses, the
            learning rate and the others. A metric that is known at one step only is no curve.
    """
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        for name, value in record.items():
            if name not in NO_METRICS:
                split, _, metric = name.partition("/")
                found[metric][split][int(record["step"])] = math.nan if value is None else value
    # A training metric has no evaluator in its name: "train/loss" belongs to "dev/loss/loss".
    for metric in [name for name in found if "/" not in name]:
        same = [other for other in found if other.endswith(f"/{metric}")]
        if len(same) == 1:
            of_steps = found.pop(metric)
            found[same[0]] |= {STEPS: of_steps[TRAIN]} if TRAIN in found[same[0]] else of_steps
    curves = [metric for metric in found if any(len(points) > 1 for points in found[metric].values())]
    order = sorted(curves, key=lambda metric: (metric != judged_by, _rank(metric)))
    return [_chart(metric, found[metric]) for metric in order]


def _rank(metric: str) -> int:
    short = metric.rpartition("/")[2]
    return 0 if short == "loss" else 1 if "loss" in short else 2 if short == "lr" else 3


def _chart(metric: str, splits: Mapping[str, Mapping[int, float]]) -> Chart:
    series, thinned_from = [], 0
    order = [*SPLIT_COLORS, *(split for split in splits if split not in SPLIT_COLORS)]
    for split in [split for split in order if split in splits]:
        points = dict(sorted(splits[split].items()))
        x, y = thinned(list(points), list(points.values()))
        if len(points) > MAX_POINTS:
            thinned_from = max(thinned_from, len(points))
        series.append(Series(split, x, y, "points" if split == TEST else "line", SPLIT_COLORS.get(split)))
    caption = f"Of {thinned_from:,} points, about {MAX_POINTS:,} are drawn: the extremes stay." if thinned_from else ""
    known = [value for single in series for value in single.y if math.isfinite(value)]
    log = bool(known) and min(known) > 0 and max(known) > LARGE_RATIO * min(known)
    return Chart(metric, series, y_label=metric.rpartition("/")[2], caption=caption, log_y=log)
