"""The learning rate of an optimizer over a run: a warm-up and one of torch's schedules."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, LRScheduler, ReduceLROnPlateau, SequentialLR

from dlpipe.config.pipeline import as_toml
from dlpipe.config.tables import target_of
from dlpipe.config.torch_names import TOTAL_STEPS
from dlpipe.errors import InputError
from dlpipe.registry.targets import load_target
from dlpipe.runs.plain_state import unsavable
from dlpipe.training.optimizers import build_by_name, refusals_of

PLATEAU = "reduce_on_plateau"
#: The entry of a state with what the rates follow from.
CURVE = "curve"
#: What schedules change of a parameter group.
SCHEDULED = ("lr", "momentum", "betas")
#: What a plateau remembers; its other attributes come from the file.
COUNTERS = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


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
        self._optimizer, self._table, self._warmup_steps = optimizer, table or {}, warmup_steps
        self._steps = 0
        if total_steps is not None and 0 < total_steps <= warmup_steps:
            raise InputError(
                f"warmup_steps = {warmup_steps}: the run has {total_steps} steps, so the learning rate would never be "
                f"reached; expected fewer than {total_steps}"
            )
        is_plateau = self._table.get("use") == PLATEAU
        if is_plateau and warmup_steps:
            raise InputError(
                f"warmup_steps = {warmup_steps}: schedule {PLATEAU} does not support a warm-up; "
                "leave out one of the two"
            )
        self._lengths = self._missing_lengths(total_steps) if self._table and not is_plateau else {}
        self._first = [{name: group[name] for name in SCHEDULED if name in group} for group in optimizer.param_groups]
        self._plateau = self._reduce_on_plateau("min") if is_plateau else None
        self._per_step = self._build()

    def _build(self) -> LRScheduler | None:
        """Return the schedule of torch at its beginning, None if the rate does not follow from the step."""
        if self._plateau is not None:
            return None
        optimizer, steps = self._optimizer, self._warmup_steps
        warmup = LinearLR(optimizer, 1 / (steps + 1), total_iters=steps) if steps else None
        if not self._table:
            return warmup
        schedule = build_by_name("schedule", self._table, optimizer, **self._lengths)
        if not isinstance(schedule, LRScheduler):
            raise InputError(f"schedule {self._table['use']} is no torch.optim.lr_scheduler.LRScheduler")
        return SequentialLR(optimizer, [warmup, schedule], [steps]) if warmup else schedule

    @property
    def learning_rate(self) -> float:
        """The current learning rate (of the first parameter group)."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """Set the rate for the next step; call it after each optimizer step."""
        self._steps += 1
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
        state = {} if schedule is None else _plain(schedule.state_dict())
        return state | {"steps": self._steps, CURVE: self._curve}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, after the state of the optimizer.

        If the schedule is another one now, the rate becomes that of the new one after the same number of steps;
        ``reduce_on_plateau`` keeps its counters and the reductions so far.
        """
        saved = dict(state)
        self._steps, curve = saved.pop("steps", saved.get("last_epoch", 0)), saved.pop(CURVE, self._curve)
        if self._plateau is not None:
            self._load_plateau(saved, curve)
        elif curve != self._curve:
            self._repeat()
        elif self._per_step is not None:
            self._per_step.load_state_dict(saved)

    @property
    def _curve(self) -> dict[str, Any]:
        """What the rates follow from, as plain values."""
        table = {name: as_toml(value) for name, value in {**self._table, **self._lengths}.items()}
        return {
            "table": table,
            "warmup_steps": self._warmup_steps,
            "lr": [float(first["lr"]) for first in self._first],
        }

    def _repeat(self) -> None:
        """Take the steps of the schedule again from the beginning, without the optimizer."""
        self._reset()
        self._per_step = self._build()
        if self._per_step is not None:
            with warnings.catch_warnings(action="ignore"), refusals_of("schedule", self._table):
                for _ in range(self._steps):  # torch warns that the optimizer has taken no step
                    self._per_step.step()

    def _reset(self) -> None:
        """Give the optimizer the values with which it was built."""
        for group, first in zip(self._optimizer.param_groups, self._first, strict=True):
            group.update(first)
            group.pop("initial_lr", None)  # torch would take it for the first rate

    def _load_plateau(self, saved: Mapping[str, Any], then: Mapping[str, Any]) -> None:
        if then["table"].get("use") != PLATEAU:
            self._reset()
            return
        self._plateau = self._reduce_on_plateau(saved["mode"])
        if then == self._curve:
            self._plateau.load_state_dict(dict(saved))
            return
        self._plateau.load_state_dict({name: saved[name] for name in COUNTERS})
        rates = zip(saved["_last_lr"], then["lr"], self._curve["lr"], self._plateau.min_lrs, strict=True)
        for group, (last, old, new, least) in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = last if old == new else max(last / old * new, least)
        self._plateau._last_lr = [group["lr"] for group in self._optimizer.param_groups]

    def _reduce_on_plateau(self, goal: str) -> ReduceLROnPlateau:
        schedule = build_by_name("schedule", self._table, self._optimizer, mode=goal)
        assert isinstance(schedule, ReduceLROnPlateau)
        return schedule

    def _missing_lengths(self, total_steps: int | None) -> dict[str, int]:
        """Return the numbers of steps that the schedule takes and the table does not give."""
        name = self._table["use"]
        known = inspect.signature(load_target(target_of("schedule", self._table))).parameters
        # torch's own default of total_iters (5, meant as epochs) would end a schedule of steps at once.
        missing = [length for length in TOTAL_STEPS & set(known) if self._table.get(length) is None]
        if not missing:
            return {}
        if total_steps is None:
            raise InputError(f"schedule {name} needs {missing[0]}, since the run has no fixed number of steps")
        return dict.fromkeys(missing, total_steps - self._warmup_steps)


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in state.items():
        if key == "_schedulers":
            plain[key] = [_plain(part) for part in value]
        elif not unsavable(value):  # a function of the schedule is built again
            plain[key] = value
    return plain
