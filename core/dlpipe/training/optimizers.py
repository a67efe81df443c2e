"""torch's optimizers and schedules, made from the tables of a pipeline file."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, LRScheduler, ReduceLROnPlateau, SequentialLR

from dlpipe.config.torch_names import OPTIMIZERS, SCHEDULES, TOTAL_STEPS
from dlpipe.errors import InputError
from dlpipe.registry.targets import load_target


def build_optimizer(parameters: Iterable[nn.Parameter], table: Mapping[str, Any]) -> Optimizer:
    """Make the optimizer that a table such as ``{"use": "adam", "lr": 1e-3}`` asks for.

    Raises:
        InputError: torch refuses a value.
    """
    options = {key: value for key, value in table.items() if key != "use"}
    return _make(OPTIMIZERS[table["use"]], "optimizer", table, list(parameters), **options)  # type: ignore[no-any-return]


def build_schedule(
    optimizer: Optimizer, table: Mapping[str, Any] | None, warmup_steps: int, total_steps: int | None
) -> LRScheduler | None:
    """Make the learning-rate schedule of a run; it counts steps, not epochs.

    Args:
        table: such as ``{"use": "cosine_annealing"}``, or None. A number of steps that the schedule
            needs and the table does not give (``T_max``, ``total_steps``, ``total_iters``) is the
            number of steps of the run, less the warm-up.
        warmup_steps: steps over which the rate first grows from near 0, in a line.
        total_steps: None where the run has no such number.

    Raises:
        InputError: a number of steps is needed and not known, or torch refuses a value.
    """
    warmup = LinearLR(optimizer, 1 / (warmup_steps + 1), total_iters=warmup_steps) if warmup_steps else None
    if table is None:
        return warmup
    target = SCHEDULES[table["use"]]
    options = {key: value for key, value in table.items() if key != "use"}
    known = inspect.signature(load_target(target)).parameters
    for name in TOTAL_STEPS & set(known):
        # torch's own default for total_iters (5, meant as epochs) would end a schedule of steps at once.
        if options.get(name) is None:
            if total_steps is None:
                raise InputError(f"[trainer] schedule {table['use']} needs {name}, as the run has no number of steps")
            if total_steps <= warmup_steps:
                raise InputError(
                    f"[trainer] warmup_steps = {warmup_steps}: the run has {total_steps} steps, which leaves none for "
                    f"schedule {table['use']}"
                )
            options[name] = total_steps - warmup_steps
    schedule = _make(target, "schedule", table, optimizer, **options)
    if warmup is None:
        return schedule  # type: ignore[no-any-return]
    if isinstance(schedule, ReduceLROnPlateau):
        raise InputError("[trainer] warmup_steps cannot stand before schedule reduce_on_plateau; leave out one")
    return SequentialLR(optimizer, [warmup, schedule], [warmup_steps])


def after_step(schedule: LRScheduler | None) -> None:
    """Tell a schedule that counts steps of one more."""
    if schedule is not None and not isinstance(schedule, ReduceLROnPlateau):
        schedule.step()


def after_evaluation(schedule: LRScheduler | None, score: float) -> None:
    """Tell a schedule that waits for plateaus of a score that should fall."""
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(score)


def schedule_state(schedule: LRScheduler) -> dict[str, Any]:
    """Return a schedule's state without the parts that ``weights_only`` would not load."""
    return _plain(schedule.state_dict())


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in state.items():
        if key == "_schedulers":
            plain[key] = [_plain(part) for part in value]
        elif isinstance(value, (int, float, str, bool, list, tuple, type(None), dict)):
            plain[key] = value
    return plain


def _make(target: str, kind: str, table: Mapping[str, Any], *arguments: Any, **options: Any) -> Any:
    try:
        return load_target(target)(*arguments, **options)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise InputError(f"[trainer] {kind} {table['use']}: {error}") from error
