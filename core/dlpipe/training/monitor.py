"""The metric that decides which checkpoint is best, and the comparison of a score with the best one so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from dlpipe.config.settings import LoopOptions
from dlpipe.errors import InputError
from dlpipe.protocols import Evaluator, Goal
from dlpipe.splits import DEV
from dlpipe.training.loop_state import LoopState


def monitored(options: LoopOptions, evaluators: Mapping[str, Evaluator]) -> tuple[str, Goal]:
    """Return the metric that decides which checkpoint is best, and whether it should grow or fall."""
    name = next((name for name, evaluator in evaluators.items() if evaluator.primary), "")
    if options.monitor:
        parts = options.monitor.split("/")
        if len(parts) != 3 or parts[0] != DEV or parts[1] not in evaluators:
            expected = ", ".join(f"{DEV}/{known}/…" for known in evaluators)
            raise InputError(f'monitor = "{options.monitor}": expected one of {expected}')
        name = parts[1]
    if not name:  # nothing to compare checkpoints by: the last one counts
        return "", "max"
    evaluator = evaluators[name]
    monitor = options.monitor or f"{DEV}/{name}/{evaluator.primary}"
    if options.goal is None and monitor != f"{DEV}/{name}/{evaluator.primary}":
        raise InputError(f'monitor = "{monitor}": say whether it should grow or fall: goal = "max" or "min"')
    return monitor, options.goal or cast(Goal, evaluator.goal)


def require_monitored(monitor: str, options: LoopOptions, metrics: Mapping[str, float]) -> None:
    """Refuse a monitor that is none of the metrics of the evaluators, and ties by a loss that none of them gives.

    Args:
        monitor: empty for none.
    """
    given = ", ".join(metrics)
    if monitor and monitor not in metrics:
        raise InputError(f"monitor = {monitor!r}: the evaluators give {given}")
    if monitor and options.ties == "loss" and _dev_loss(metrics, monitor) is None:
        raise InputError(
            f'ties = "loss": no evaluator gives a loss on dev, but {given}; add one, such as core.loss, or set '
            'ties = "last"'
        )


def record_score(
    state: LoopState, metrics: Mapping[str, float], monitor: str, goal: Goal, options: LoopOptions
) -> bool:
    """Compare the monitored metric with the best so far, and return whether this checkpoint counts now.

    A tie may replace the best checkpoint, but it is no improvement: otherwise a score that cannot grow any more
    would make patience endless. Nor are small ones, by ``min_delta``, until they have added up.
    """
    score, loss = metrics[monitor], _dev_loss(metrics, monitor)
    if _is_better(score, state.reference, goal, options.min_delta):
        state.reference, state.stale = score, 0
    else:
        state.stale += 1
    better = _is_better(score, state.best, goal)
    if better or (score == state.best and _wins_tie(options.ties, loss, state.best_loss)):
        state.best, state.best_loss, state.best_step = score, loss, state.step
        return True
    return False


def _is_better(score: float, than: float | None, goal: Goal, by: float = 0.0) -> bool:
    """Return whether a score is better by more than `by`; NaN, an undefined metric, would stay the best forever."""
    if than is None:
        return not math.isnan(score)
    return (score - than if goal == "max" else than - score) > by


def _wins_tie(ties: str | None, loss: float | None, best: float | None) -> bool:
    """Return whether a checkpoint with the same score as the best one replaces it, given their losses on dev."""
    if ties in ("first", "last"):
        return ties == "last"
    # A comparison with NaN is false, and would keep it forever.
    return best is None or math.isnan(best) or (loss is not None and loss <= best)


def _dev_loss(metrics: Mapping[str, float], monitor: str) -> float | None:
    """Return the loss on dev: of the evaluator of the monitored metric, else of the first that gives one, else None."""
    names = [f"{monitor.rpartition('/')[0]}/loss", *(name for name in metrics if name.endswith("/loss"))]
    return next((metrics[name] for name in names if name in metrics), None)
