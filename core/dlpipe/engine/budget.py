"""From what was measured to what a whole run takes, as its budget says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from dlpipe.config.settings import LoopOptions

#: Numbers of a line of the metrics besides the metrics themselves.
POSITION = {"step": 100_000, "epoch": 10.1234, "time": 1_800_000_000.123, "steps_per_second": 1234.56}


@dataclass(frozen=True)
class Costs:
    """What was measured of a stage.

    Args:
        start_seconds: of building it.
        step_seconds: mean of a step.
        step_metrics: of a step, each of which has a number in every line of the metrics.
        train_seconds: of an evaluation of training examples; None if there is none.
        dev_seconds: of an evaluation on the dev split; None if there is none.
        test_seconds: of the one at the end.
        checkpoint_seconds: of saving one.
        checkpoint_bytes: of one.
    """

    start_seconds: float
    step_seconds: float
    step_metrics: Mapping[str, float]
    train_seconds: float | None
    train_metrics: Mapping[str, float]
    dev_seconds: float | None
    dev_metrics: Mapping[str, float]
    test_seconds: float | None
    checkpoint_seconds: float
    checkpoint_bytes: int


@dataclass(frozen=True)
class RunTime:
    """What a whole stage takes.

    Args:
        ends_by: what ends it: "steps" or "minutes".
        evaluations: on the dev split, and of training examples.
        evaluation_seconds: of all of these, and of the one on the test split.
        kept_checkpoints: checkpoints on the disk at the same time, with the one that is being saved.
        log_bytes: of the metrics.
    """

    steps: int
    ends_by: str
    start_seconds: float
    training_seconds: float
    evaluations: int
    evaluation_seconds: float
    checkpoints: int
    checkpoint_seconds: float
    total_seconds: float
    kept_checkpoints: int
    checkpoint_bytes: int
    log_bytes: int


def run_time(options: LoopOptions, per_epoch: int | None, total: int | None, costs: Costs) -> RunTime:
    """Return what a stage takes.

    Args:
        per_epoch: steps of an epoch, None for a stream.
        total: steps of the run, None if only time ends it.
    """
    steps, ends_by = total or 0, "steps"
    if options.minutes is not None:
        in_time = max(1, math.ceil(options.minutes * 60 / costs.step_seconds))
        if total is None or in_time < total:
            steps, ends_by = in_time, "minutes"
    training = steps * costs.step_seconds
    evaluate_every = options.evaluate_every or per_epoch
    during = [seconds for seconds in (costs.train_seconds, costs.dev_seconds) if seconds is not None]
    evaluations = _times(evaluate_every, steps) if during else 0
    evaluating = evaluations * sum(during) + (costs.test_seconds or 0.0)
    checkpoints = _times(options.checkpoint_every or evaluate_every, steps)
    if options.checkpoint_minutes:
        checkpoints = max(checkpoints, math.ceil(training / (options.checkpoint_minutes * 60)))
    saving = checkpoints * costs.checkpoint_seconds
    # The latest, the best, and the one that is being saved.
    kept = min(options.keep + (costs.dev_seconds is not None) + 1, checkpoints)
    evaluated = {**costs.train_metrics, **costs.dev_metrics}
    lines = _times(options.log_every, steps) * _line(costs.step_metrics) + evaluations * _line(evaluated)
    return RunTime(
        steps,
        ends_by,
        costs.start_seconds,
        training,
        evaluations,
        evaluating,
        checkpoints,
        saving,
        costs.start_seconds + training + evaluating + saving,
        kept,
        kept * costs.checkpoint_bytes,
        lines,
    )


def _times(every: int | None, steps: int) -> int:
    """Return the number of events of a run: one after every `every` steps, and one at its end."""
    return math.ceil(steps / every) if every else 1


def _line(metrics: Mapping[str, float]) -> int:
    return len(json.dumps({**POSITION, **{f"train/{name}": 0.12345678901234567 for name in metrics}})) + 1
