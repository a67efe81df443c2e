"""The learning rate of an optimizer over a run: a warm-up and one of torch's schedules."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, LRScheduler, ReduceLROnPlateau, SequentialLR

from dlpipe.config.tables import target_of
from dlpipe.config.torch_names import TOTAL_STEPS
from dlpipe.errors import InputError
from dlpipe.registry.targets import load_target
from dlpipe.runs.plain_state import unsavable
from dlpipe.training.optimizers import build_by_name, refusals_of


class LearningRateSchedule:
    """Sets the learning rate of an optimizer; it counts steps, not epochs.

    Args:
        table: such as ``{"use": "cosine_annealing"}``; None keeps the rate as it is. A number of steps that the
            schedule needs and the table does not give (``T_max``, ``total_steps``, ``total_iters``) is the number of
            steps of the run minus the warm-up.
        warmup_steps: steps over which the rate first grows linearly from near 0.
        total_steps: of the run; None if only time or a score ends it.

    Raises:
        InputError: the number of steps is needed and unknown, or torch refuses a value.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        table: Mapping[str, Any] | None,
        *,
        warmup_steps: int = 0,
        total_steps: int | None = None,
    ) -> None:
        self._optimizer, self._table = optimizer, table or {}
        self._plateau: ReduceLROnPlateau | None = None
        self._per_step: LRScheduler | None = None
        if total_steps is not None and 0 < total_steps <= warmup_steps:
            raise InputError(
                f"warmup_steps = {warmup_steps}: the run has {total_steps} steps, so the learning rate would never be "
                f"reached; expected fewer than {total_steps}"
            )
        warmup = LinearLR(optimizer, 1 / (warmup_steps + 1), total_iters=warmup_steps) if warmup_steps else None
        if self._table.get("use") == "reduce_on_plateau":
            if warmup:
                raise InputError(
                    f"warmup_steps = {warmup_steps}: schedule reduce_on_plateau does not support a warm-up; "
                    "leave out one of the two"
                )
            self._plateau = self._reduce_on_plateau("min")
        elif self._table:
            schedule = build_by_name("schedule", self._table, optimizer, **self._lengths(warmup_steps, total_steps))
            if not isinstance(schedule, LRScheduler):
                raise InputError(f"schedule {self._table['use']} is no torch.optim.lr_scheduler.LRScheduler")
            self._per_step = SequentialLR(optimizer, [warmup, schedule], [warmup_steps]) if warmup else schedule
        else:
            self._per_step = warmup

    @property
    def learning_rate(self) -> float:
        """The current learning rate (of the first parameter group)."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """Set the rate for the next step; call it after each optimizer step."""
        if self._per_step is not None:
            with refusals_of("schedule", self._table):  # torch divides by some values only now: T_max = 0
                self._per_step.step()

    def on_score(self, score: float, goal: Literal["max", "min"]) -> None:
        """Lower the rate if the schedule is ``reduce_on_plateau`` and the score has stopped improving."""
        if self._plateau is None:
            return
        if self._plateau.mode != goal:  # only now it is known which way the score should go
            self._plateau = self._reduce_on_plateau(goal)
        self._plateau.step(score)

    def state_dict(self) -> dict[str, Any]:
        """Return what the next rates depend on, as ``weights_only`` can load it."""
        schedule = self._plateau or self._per_step
        return {} if schedule is None else _plain(schedule.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if self._plateau is not None:
            self._plateau = self._reduce_on_plateau(state["mode"])
        schedule = self._plateau or self._per_step
        if schedule is not None:
            schedule.load_state_dict(dict(state))

    def _reduce_on_plateau(self, goal: str) -> ReduceLROnPlateau:
        schedule = build_by_name("schedule", self._table, self._optimizer, mode=goal)
        assert isinstance(schedule, ReduceLROnPlateau)
        return schedule

    def _lengths(self, warmup_steps: int, total_steps: int | None) -> dict[str, int]:
        """Return the numbers of steps that the schedule takes and the table does not give."""
        name = self._table["use"]
        known = inspect.signature(load_target(target_of("schedule", self._table))).parameters
        # torch's own default of total_iters (5, meant as epochs) would end a schedule of steps at once.
        missing = [length for length in TOTAL_STEPS & set(known) if self._table.get(length) is None]
        if not missing:
            return {}
        if total_steps is None:
            raise InputError(f"schedule {name} needs {missing[0]}, since the run has no fixed number of steps")
        return dict.fromkeys(missing, total_steps - warmup_steps)


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in state.items():
        if key == "_schedulers":
            plain[key] = [_plain(part) for part in value]
        elif not unsavable(value):  # a function of the schedule is built again
            plain[key] = value
    return plain
