"""The score of a run, as far as it has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Score(NamedTuple):
    """A metric, such as "test/slots/f1", its value, and whether it should grow or fall.

    Args:
        value: None if there is none yet.
        goal: "max" or "min"; empty if that is not known.
    """

    metric: str
    value: float | None
    goal: str


def score_so_far(known: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Score:
    """Return the primary metric on test or, before that, the best value so far of the monitored metric on dev.

    Args:
        known: of the stage, a `dlpipe.runs.files.StageRecord`; empty for a run of an earlier version, which is judged
            by the first metric that it has.
        records: of ``metrics.jsonl``.
    """
    for record in reversed(records):
        tested = _measured(record, "test/")
        metric = f"test/{known['metric']}" if known.get("metric") else next(iter(tested), "")
        if metric in tested:
            return Score(metric, tested[metric], known.get("goal", ""))
    on_dev = [found for record in records if (found := _measured(record, "dev/"))]
    monitor, goal = known.get("monitor") or next(iter((on_dev or [{}])[-1]), ""), known.get("monitor_goal", "")
    values = [found[monitor] for found in on_dev if monitor in found]
    best = {"max": max, "min": min}.get(goal, lambda found: found[-1])
    return Score(monitor, best(values) if values else None, goal)


def _measured(record: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {name: value for name, value in record.items() if name.startswith(prefix) and value is not None}
