"""The loop: consumes a trainer's steps and does once, for all trainers, what is not their algorithm.

Budget, log points, evaluation, best and last checkpoints, early stopping, the stop on NaN, signals.
Between two log points no value of a tensor is read, so no step waits for a GPU, and a step costs
the loop one comparison and one append.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dlpipe.compute import randomness, restore_randomness
from dlpipe.config.settings import LoopOptions
from dlpipe.errors import InputError, Interrupted, NonFiniteError, PluginError, Preempted
from dlpipe.evaluation.evaluate import evaluate
from dlpipe.evaluation.examples import Examples
from dlpipe.protocols import Evaluator, Trainer
from dlpipe.runs.atomic import writing
from dlpipe.runs.checkpoint import Checkpoints, StateBlock
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.runs.signals import StopSignals
from dlpipe.training.callbacks import Callbacks
from dlpipe.training.progress import Progress

DEV = "dev"


@dataclass
class LoopState:
    """What the loop itself must remember across a kill.

    Args:
        best: score of the best checkpoint so far.
        stale: evaluations since then.
        seconds: of training, in all processes of this run.
        reason: why the run has ended; empty while it has not.
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    seconds: float = 0.0
    reason: str = ""
    pending: list[dict[str, Tensor]] = field(default_factory=list)


class Loop:
    """Run a trainer until its budget is used up.

    Args:
        evaluators: by the name that the pipeline gives them.
        dev: what to evaluate on; None where the data has no dev split.
        samples: folder for what evaluators write during training.
        diagnose: says where the first non-finite number of a step came from, given the trainer's
            last good checkpoint and that step.
    """

    def __init__(
        self,
        trainer: Trainer,
        options: LoopOptions,
        *,
        evaluators: Mapping[str, Evaluator],
        dev: Examples | None,
        checkpoints: Checkpoints,
        log: MetricsLog,
        watchers: Callbacks,
        progress: Progress,
        signals: StopSignals,
        samples: Path,
        diagnose: Callable[[int], str],
    ) -> None:
        self._trainer, self._options = trainer, options
        self._evaluators = evaluators if dev else {}
        self._dev = dev if evaluators else None
        self._checkpoints, self._log, self._watchers = checkpoints, log, watchers
        self._samples = samples
        self._progress, self._signals, self._diagnose = progress, signals, diagnose
        self._per_epoch = trainer.steps_per_epoch
        self._blocks: Callable[[], Mapping[str, StateBlock]] = getattr(trainer, "state_blocks", dict)
        self._monitor, self._goal = _monitored(options, self._evaluators)
        self._total = self._total_steps()
        self.state = LoopState()
        self._stop_reason = ""
        self._mark = 0.0  # when training last went on
        self._logged = (0, 0.0)  # step and seconds of training at the last log point
        self._saved = 0.0  # seconds of training at the last checkpoint

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole run, None if only time ends it."""
        return self._total

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what a checkpoint says; the trainer has been restored already."""
        known = {name: value for name, value in state.items() if name in vars(self.state)}
        self.state = LoopState(**known | {"pending": [{} for _ in range(state["pending_steps"])]})
        for name, (places, values) in state["pending"].items():
            for place, value in zip(places, values, strict=True):
                self.state.pending[place][name] = value
        self._logged = (self.state.step, self.state.seconds)
        self._saved = self.state.seconds
        self._log.truncate(state["log_size"])
        restore_randomness(state["randomness"])

    def request_stop(self, reason: str) -> None:
        """Ask for the run to end after the current step, with a checkpoint."""
        self._stop_reason = reason

    def run(self) -> str:
        """Train until something ends the run, and return what did.

        Raises:
            Preempted: after SIGTERM or SIGUSR1, with a checkpoint.
            Interrupted: after Ctrl-C, likewise.
            NonFiniteError: a number of a step was NaN or infinite.
        """
        state = self.state
        steps = self._trainer.steps()
        self._mark = time.monotonic()
        due = self._next_due()
        pending, signals = state.pending, self._signals
        while not state.reason:
            metrics = next(steps, None)
            if metrics is None:
                raise PluginError(f"the trainer's steps() ended after step {state.step}; expected an endless iterator")
            pending.append(metrics)
            state.step += 1
            if state.step == due or signals.received or self._stop_reason:
                self._pause()
                pending = state.pending
                due = self._next_due()
        return state.reason

    def _pause(self) -> None:
        """Do all that is due after the current step."""
        state, options = self.state, self._options
        step = state.step
        state.seconds += time.monotonic() - self._mark
        reason = self._ended()
        if step % options.log_every == 0 or reason:
            self._flush()
        if self._per_epoch and step % self._per_epoch == 0:
            self._watchers.call("dlpipe_epoch_end", step=step, epoch=step // self._per_epoch)
        reason = reason or self._stop_reason
        improved = False
        if self._dev is not None and (self._is_due(options.evaluate_every) or reason):
            improved = self._evaluate()
            if options.patience and state.stale >= options.patience and not reason:
                reason = f"no better {self._monitor} in {options.patience} evaluations"
            reason = reason or self._stop_reason
        if reason:
            self._flush()
        state.reason = reason
        stopped_by = self._signals.received  # looked at once: what arrives from here on waits for the next step
        timed = options.checkpoint_minutes and state.seconds - self._saved >= options.checkpoint_minutes * 60
        due = self._is_due(options.checkpoint_every or options.evaluate_every)
        if reason or improved or timed or stopped_by or due:
            self._save(improved)
        self._mark = time.monotonic()
        if stopped_by and not reason:
            error = Interrupted if self._signals.interrupted else Preempted
            raise error(f"stopped by {stopped_by} after step {step}, with a checkpoint")

    def _flush(self) -> None:
        """Log the means of the steps since the last log point; this is where tensors are read."""
        state = self.state
        if not state.pending:
            return
        columns = self._read()
        metrics = {f"train/{name}": float(values.double().mean()) for name, (_, values) in columns.items()}
        metrics |= {f"train/{name}": value for name, value in self._trainer.log_values().items()}
        rate = (state.step - self._logged[0]) / max(state.seconds - self._logged[1], 1e-9)
        self._logged = (state.step, state.seconds)
        state.pending = []
        self._record(metrics, steps_per_second=round(rate, 2))
        self._watchers.call("dlpipe_step_logged", step=state.step, metrics=metrics)
        self._progress.logged(state.step, metrics, rate)

    def _evaluate(self) -> bool:
        """Evaluate on the dev split; return whether the monitored metric is the best so far."""
        assert self._dev is not None
        state = self.state
        self._read()
        self._require_finite_weights()
        started = time.monotonic()
        metrics = evaluate(self._trainer, self._evaluators, self._dev)
        self._sample()
        seconds = time.monotonic() - started
        better = bool(self._monitor) and self._better(metrics)
        self._record(metrics, seconds=round(seconds, 3))
        self._watchers.call("dlpipe_evaluated", step=state.step, split=DEV, metrics=metrics)
        self._progress.evaluated(state.step, self._epoch(), metrics, self._monitor, better)
        return better

    def _sample(self) -> None:
        """Let the evaluators write what a person would like to see develop."""
        for name, evaluator in self._evaluators.items():
            sample: Callable[[Path, int], None] | None = getattr(evaluator, "sample", None)
            if sample is not None:
                with writing(self._samples / name) as folder:
                    sample(folder, self.state.step)

    def _better(self, metrics: Mapping[str, float]) -> bool:
        """Take notice of the monitored metric; return whether it is the best so far."""
        if self._monitor not in metrics:
            raise InputError(f"[trainer] monitor = {self._monitor!r}: the evaluators give {', '.join(metrics)}")
        state, score = self.state, metrics[self._monitor]
        self._trainer.on_score(-score if self._goal == "max" else score)
        better = state.best is None or (score > state.best if self._goal == "max" else score < state.best)
        better = better and not math.isnan(score)  # NaN, a metric that is not defined, would stay the best for ever
        if better:
            state.best, state.best_step, state.stale = score, state.step, 0
        else:
            state.stale += 1
        return better

    def _save(self, best: bool) -> None:
        state = self.state
        columns = self._read()
        self._require_finite_weights()
        content = {name: value for name, value in vars(state).items() if name != "pending"}
        content |= {
            "pending": columns,
            "pending_steps": len(state.pending),
            "log_size": self._log.sync(),
            "randomness": randomness(),
        }
        saved = {"loop": content, "trainer": self._trainer.state_dict()}
        path = self._checkpoints.save(state.step, self._trainer.model, saved, best=best, blocks=self._blocks())
        self._saved = state.seconds
        self._watchers.call("dlpipe_checkpoint_saved", step=state.step, path=path)

    def _read(self) -> dict[str, tuple[list[int], Tensor]]:
        """Return the numbers of the steps since the last log point, by name: which steps, and their values.

        A step need not have all names. The values are on the CPU and finite.
        """
        pending = self.state.pending
        columns: dict[str, tuple[list[int], Tensor]] = {}
        for name in dict.fromkeys(name for metrics in pending for name in metrics):
            places = [place for place, metrics in enumerate(pending) if name in metrics]
            values = [pending[place][name] for place in places]
            if values[0].device != values[-1].device:  # those that a checkpoint brought back are on the CPU
                values = [value.to(values[-1].device) for value in values]
            columns[name] = places, torch.stack(values).cpu()
        broken = {
            name: places[int((~values.isfinite()).nonzero()[0])]
            for name, (places, values) in columns.items()
            if not _finite(values)
        }
        if broken:
            name, place = min(broken.items(), key=lambda found: found[1])
            self._fail(self.state.step - len(pending) + place + 1, f"train/{name}", float(pending[place][name]))
        return columns

    def _require_finite_weights(self) -> None:
        # Not the live weights of a trainer that averages, but those that someone will use.
        if not _finite(*self._trainer.model.parameters()):
            self._fail(self.state.step, "a weight")

    def _fail(self, step: int, what: str, value: float = float("nan")) -> None:
        lr = self._trainer.log_values().get("lr")
        rate = f" (now {lr:g})" if lr is not None else ""
        raise NonFiniteError(
            f"step {step}: {what} is {value}. {self._diagnose(step)}\n"
            f"Try a lower learning rate{rate}, or limit the gradients with max_grad_norm = 1.0"
        )

    def _record(self, metrics: Mapping[str, float], **timing: float) -> None:
        place: dict[str, Any] = {"step": self.state.step}
        if self._per_epoch:
            place["epoch"] = round(self._epoch(), 4)
        self._log.append({**place, **metrics, "time": round(time.time(), 3), **timing})

    def _epoch(self) -> float:
        return self.state.step / self._per_epoch if self._per_epoch else 0.0

    def _is_due(self, every: int | None) -> bool:
        every = every or self._per_epoch
        return every is not None and self.state.step % every == 0

    def _ended(self) -> str:
        state, options = self.state, self._options
        if self._stop_reason:
            return self._stop_reason
        if self._total is not None and state.step >= self._total:
            whole = options.epochs and self._per_epoch and self._total == options.epochs * self._per_epoch
            return f"{options.epochs} epochs done" if whole else f"{self._total} steps done"
        if options.minutes is not None and state.seconds >= options.minutes * 60:
            return f"{options.minutes:g} minutes used"
        return ""

    def _next_due(self) -> int:
        """Return the next step after which there is something to do."""
        options = self._options
        periods = {options.log_every, options.evaluate_every, options.checkpoint_every, self._per_epoch}
        step = self.state.step
        due = min(step - step % period + period for period in periods if period)
        return due if self._total is None or self._total <= step else min(due, self._total)

    def _total_steps(self) -> int | None:
        options = self._options
        if options.epochs is not None and self._per_epoch is None:
            raise InputError(
                f"[trainer] epochs = {options.epochs}: this data is a stream without epochs; give steps or minutes"
            )
        ends = [
            options.steps,
            options.epochs * self._per_epoch if options.epochs and self._per_epoch else None,
            getattr(self._trainer, "total_steps", None),
        ]
        return min((end for end in ends if end is not None), default=None)


def _finite(*tensors: Tensor) -> bool:
    """Say whether all numbers are finite, waiting for the device once."""
    return not tensors or bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


def _monitored(options: LoopOptions, evaluators: Mapping[str, Evaluator]) -> tuple[str, Literal["max", "min"]]:
    """Return the metric that decides which checkpoint is best, and whether it should grow or fall."""
    name = next((name for name, evaluator in evaluators.items() if evaluator.primary), "")
    if options.monitor:
        parts = options.monitor.split("/")
        if len(parts) != 3 or parts[0] != DEV or parts[1] not in evaluators:
            expected = ", ".join(f"{DEV}/{known}/…" for known in evaluators)
            raise InputError(f'[trainer] monitor = "{options.monitor}": expected one of {expected}')
        name = parts[1]
    if not name:  # nothing to compare checkpoints by: the last one counts
        return "", "max"
    evaluator = evaluators[name]
    monitor = options.monitor or f"{DEV}/{name}/{evaluator.primary}"
    own = monitor == f"{DEV}/{name}/{evaluator.primary}"
    if options.goal is None and not own:
        raise InputError(f'[trainer] monitor = "{monitor}": say whether it should grow or fall: goal = "max" or "min"')
    return monitor, options.goal or evaluator.goal
