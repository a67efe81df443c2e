"""Why a run ends: its options, as far as it has come."""

from __future__ import annotations

from dlpipe.config.settings import LoopOptions
from dlpipe.errors import InputError
from dlpipe.messages import counted
from dlpipe.training.loop_state import LoopState

#: How the reason of a run starts that patience ended.
NO_BETTER = "no better"


def require_epochs(options: LoopOptions, steps_per_epoch: int | None) -> None:
    """Refuse a number of epochs for data that has none."""
    if options.epochs is not None and steps_per_epoch is None:
        raise InputError(
            f"epochs = {options.epochs}: this data is a stream without epochs; give steps or minutes instead"
        )


def end_of(
    options: LoopOptions, state: LoopState, total_steps: int | None, steps_per_epoch: int | None, monitor: str
) -> str:
    """Return why the options end a run where it is, or an empty string.

    Args:
        total_steps: of the whole run, None if only time or a score ends it.
        monitor: the metric that decides which checkpoint is best.
    """
    if total_steps is not None and state.step >= total_steps:
        if options.epochs and steps_per_epoch and total_steps == options.epochs * steps_per_epoch:
            return f"{counted(options.epochs, 'epoch')} done"
        return f"{counted(total_steps, 'step')} done"
    if options.minutes is not None and state.seconds >= options.minutes * 60:
        return f"{options.minutes:g} minutes used"
    if options.patience and state.stale >= options.patience:
        least = f" by more than {options.min_delta:g}" if options.min_delta else ""
        return f"{NO_BETTER} {monitor}{least} in {options.patience} evaluations"
    return ""
