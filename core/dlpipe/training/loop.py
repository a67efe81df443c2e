"""The loop: runs a trainer's steps and does, once for all trainers, everything that is not their algorithm.

Budget, log points, evaluation, best and last checkpoints, early stopping, the stop on NaN, signals. Between two log
points no value is read from an accelerator, so no step waits for it, and a step costs the loop a few comparisons.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlpipe.compute import randomness, restore_randomness
from dlpipe.config.pipeline import table_name
from dlpipe.config.settings import LoopOptions
from dlpipe.errors import Interrupted, NonFiniteError, PluginError, Preempted, errors_in
from dlpipe.evaluation.examples import Examples
from dlpipe.protocols import Evaluator, Goal, Trainer
from dlpipe.ranks import Ranks
from dlpipe.runs.checkpoint import Checkpoints
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.runs.plain_state import PLAIN, unsavable
from dlpipe.runs.signals import INTERRUPT, StopSignals
from dlpipe.splits import DEV
from dlpipe.training.callbacks import Callbacks
from dlpipe.training.ending import end_of, require_epochs
from dlpipe.training.judging import Judged, Judges
from dlpipe.training.loop_state import MOST_PENDING, SAVED_LOOP, LoopState, randomness_of
from dlpipe.training.monitor import monitored, record_score, require_monitored
from dlpipe.training.nan_search import learned_tensors
from dlpipe.training.progress import Progress
from dlpipe.training.step_metrics import (
    StepMetrics,
    all_finite,
    columns_of,
    first_broken,
    mean_losses,
    wait_for,
    weighted_means,
    with_losses,
)
from dlpipe.training.trainer_state import metric_weights_of, own_total_steps, state_blocks_of

#: What may begin again when the options of a run change.
BEST, PATIENCE = "best", "patience"
#: Gets the steps of a trainer and returns them.
Watch = Callable[[Iterator[dict[str, Tensor]]], Iterator[dict[str, Tensor]]]


class Loop:
    """Run a trainer until its budget is used up.

    Args:
        evaluators: of the dev split, by the name that the pipeline gives them.
        dev: what to evaluate on; None if the data has no dev split.
        train: the training examples to evaluate on, and the evaluators for them.
        samples: folder for what evaluators write during training.
        find_nan: says where the first non-finite number of a step came from, given that step.
        ranks: the processes that train together; all of them call `run`.
        stage: name of the stage, for error messages.
    """

    def __init__(
        self,
        trainer: Trainer,
        options: LoopOptions,
        *,
        evaluators: Mapping[str, Evaluator],
        dev: Examples | None,
        train: Sequence[Judged] = (),
        checkpoints: Checkpoints,
        log: MetricsLog,
        callbacks: Callbacks,
        progress: Progress,
        signals: StopSignals,
        samples: Path,
        find_nan: Callable[[int], str],
        ranks: Ranks = Ranks(),  # noqa: B008  frozen
        stage: str = "",
    ) -> None:
        self._ranks = ranks
        self._watch: Watch = lambda steps: steps
        self._trainer, self._options = trainer, options
        self._table = table_name(stage, "trainer")
        self._judges = Judges(Judged(evaluators, dev) if dev and evaluators else None, train, stage)
        self._checkpoints, self._log, self._callbacks = checkpoints, log, callbacks
        self._samples = samples
        self._progress, self._signals, self._find_nan = progress, signals, find_nan
        self._per_epoch = trainer.steps_per_epoch
        with errors_in(self._table):
            self._monitor, self._goal = monitored(options, self._judges.on_dev)
            require_epochs(options, self._per_epoch)
        self._total = options.budget.total_steps(self._per_epoch, own_total_steps(trainer))
        self.state = LoopState()
        self._stop_request = ""
        self._agreed = ("", "")  # the stop request and the signal, of whichever rank got one
        self._resumed_at = 0.0  # when training last continued, on the monotonic clock
        self._logged = (0, 0.0)  # step and seconds of training at the last log point
        self._saved_at = 0.0  # seconds of training at the last checkpoint
        self._has_saved = False  # in this process

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole run, None if only time ends it."""
        return self._total

    def seconds_left(self) -> float | None:
        """Return the seconds of training left, None if no time ends it."""
        minutes = self._options.minutes
        return None if minutes is None else minutes * 60 - self.state.seconds - (time.monotonic() - self._resumed_at)

    @property
    def monitor(self) -> tuple[str, Goal]:
        """The metric that decides which checkpoint is best, empty for none, and whether it should grow or fall."""
        return self._monitor, self._goal

    def restore(self, state: Mapping[str, Any], restarts: Collection[str] | None = None) -> None:
        """Restore the state of a checkpoint; the trainer has been restored already.

        Args:
            restarts: of a run that continues with other options, even if it had ended: what begins again, `BEST` (the
                comparison of checkpoints) or `PATIENCE`. None if nothing was changed.

        Raises:
            ValueError: it is not what `_save` writes.
        """
        SAVED_LOOP.validate_python(state)
        most = self._options.log_every if restarts is None else MOST_PENDING
        if state["pending_steps"] > min(state["step"], most):
            raise ValueError(f"it has {state['pending_steps']} steps since the last log point")
        known = {"reference": state["best"]}  # of an earlier version, which had no min_delta
        known |= {name: value for name, value in state.items() if name in vars(self.state)}
        self.state = LoopState(**known | {"pending": [{} for _ in range(state["pending_steps"])]})
        for name, (positions, values) in state["pending"].items():
            for position, value in zip(positions, values.tolist(), strict=True):
                self.state.pending[position][name] = value
        self._logged = (self.state.step, self.state.seconds)
        self._saved_at = self.state.seconds
        self._log.truncate(state["log_size"])
        restore_randomness(randomness_of(self._ranks, state))
        if restarts is None:
            return
        if BEST in restarts:
            self.state.best = self.state.best_loss = self.state.reference = None
        if restarts:
            self.state.stale = 0
        self.state.reason = self._end_reason()

    def watch_steps(self, watch: Watch) -> None:
        """Take the steps of the trainer through `watch`, which returns the same steps, as a profiler does."""
        self._watch = watch

    def request_stop(self, reason: str) -> None:
        """Ask for the run to end after the current step, with a checkpoint."""
        self._stop_request = reason

    def run(self) -> str:
        """Train until something ends the run, and return what did.

        Raises:
            Preempted: after SIGTERM, SIGUSR1 or SIGUSR2, with a checkpoint.
            Interrupted: after Ctrl-C, with a checkpoint.
            NonFiniteError: a metric or weight was NaN or infinite.
            InputError: the trainer cannot use its model or data.
        """
        with errors_in(self._table):
            return self._run()

    def _run(self) -> str:
        state = self.state
        steps = self._watch(self._trainer.steps())
        self._resumed_at = time.monotonic()
        if not state.evaluated:  # an evaluator failed when this checkpoint was saved
            self._finish_step()
        due = self._next_due()
        pending, signals = state.pending, self._signals
        alone = self._ranks.size == 1  # several ranks agree on what to do, at the steps that they all know of
        while not state.reason:
            metrics = next(steps, None)
            if metrics is None:
                raise PluginError(f"{self._table} steps() ended after step {state.step}; expected an endless iterator")
            # A tensor that is kept would lie amid the memory of its step, so that the next one cannot have the same
            # memory, which the caches of the CPU hold. That costs more than to read a number.
            pending.append({name: value.item() if value.is_cpu else value for name, value in metrics.items()})
            state.step += 1
            if state.step == due or (alone and (signals.received or self._stop_request)):
                self._after_step()
                pending = state.pending
                due = self._next_due()
        return state.reason

    def _after_step(self) -> None:
        """Do everything that is due after the current step."""
        state, options = self.state, self._options
        if self._reads_values():
            wait_for(state.pending[-1])  # before the time is taken: meanwhile, the accelerator trains
        state.seconds = self._agree(state.seconds + time.monotonic() - self._resumed_at)
        if state.step % options.log_every == 0 or self._end_reason():
            self._log_pending()
        if self._per_epoch and state.step % self._per_epoch == 0:
            self._callbacks.call("dlpipe_epoch_end", step=state.step, epoch=state.step // self._per_epoch)
        self._finish_step()

    def _finish_step(self) -> None:
        """Evaluate and save after the current step, if that is due, and see whether the run ends."""
        state, options = self.state, self._options
        improved = False
        self._agree(state.seconds)  # a callback may have asked for the end
        if self._judges and (self._is_due(options.evaluate_every) or self._end_reason()):
            improved = self._evaluate()

        self._agree(state.seconds)  # a signal may have arrived meanwhile
        state.reason = self._end_reason()
        if state.reason:
            self._log_pending()
            if self._monitor and state.best is None and state.stale:
                self._progress.warning(
                    f"{self._monitor} was not a number in any of the {state.stale} evaluations, so no checkpoint is "
                    "the best one; the last one counts"
                )
        _, stopped_by = self._agreed  # a signal that arrives later waits for the next step
        if state.reason or improved or stopped_by or self._checkpoint_is_due():
            self._save(improved)
        self._resumed_at = time.monotonic()
        if stopped_by and not state.reason:
            error = Interrupted if stopped_by == INTERRUPT else Preempted
            raise error(f"stopped by {stopped_by} after step {state.step}, with a checkpoint")

    def _reads_values(self) -> bool:
        """Return whether a log point, an evaluation, a checkpoint or the end is due, which read metrics or weights."""
        options = self._options
        return bool(
            self.state.step % options.log_every == 0
            or (self._judges and self._is_due(options.evaluate_every))
            or self._checkpoint_is_due()
            or self._end_reason()
            or self._stop_request
            or self._signals.received
        )

    def _end_reason(self) -> str:
        """Return why the run ends after the current step, or an empty string."""
        reason = end_of(self._options, self.state, self._total, self._per_epoch, self._monitor)
        return reason or self._agreed[0]

    def _agree(self, seconds: float) -> float:
        """Agree with the other ranks on why to stop, if one has a reason, and on the time, which is the leader's."""
        told = self._ranks.gather((self._stop_request, self._signals.received, seconds))
        requests, signals, times = zip(*told, strict=True)
        self._agreed = (next(filter(None, requests), ""), next(filter(None, signals), ""))
        return float(times[0])

    def _checkpoint_is_due(self) -> bool:
        options = self._options
        minutes = options.checkpoint_minutes
        if minutes and self.state.seconds - self._saved_at >= minutes * 60:
            return True
        return self._is_due(options.checkpoint_every or options.evaluate_every)

    def _log_pending(self) -> None:
        """Log the means of the steps since the last log point; this is where tensors are read."""
        state = self.state
        if not state.pending:
            return
        columns = self._read_pending()
        means = weighted_means(columns, metric_weights_of(self._trainer))
        metrics = {f"train/{name}": mean for name, mean in means.items()}
        metrics |= {f"train/{name}": value for name, value in self._trainer.log_values().items()}
        state.losses, state.counted = with_losses(state.losses, columns, state.counted), 0
        rate = (state.step - self._logged[0]) / max(state.seconds - self._logged[1], 1e-9)
        self._logged = (state.step, state.seconds)
        before, state.pending = state.step - len(state.pending), []
        self._record(metrics, steps_per_second=round(rate, 2))
        self._callbacks.call("dlpipe_step_logged", step=state.step, metrics=metrics)
        self._progress.logged(state.step, metrics, rate)
        period = self._options.evaluate_every or self._per_epoch
        # Without an evaluation, at the first log point after each, as nothing is read in between.
        if not self._judges and period and (before // period < state.step // period or self._end_reason()):
            self._progress.evaluated(state.step, self._epoch(), self._mean_losses({}), {})

    def _evaluate(self) -> bool:
        """Evaluate on the dev split, and on training examples; return whether this is the best checkpoint so far."""
        columns = self._read_pending()  # raises if a metric is not finite
        self._require_finite_weights()
        started, before = time.monotonic(), randomness()
        try:
            found = self._judges.evaluate(self._trainer.model)
            found = self._ranks.from_leader(lambda: found)  # random numbers of an evaluator differ between ranks
            on_dev = found.get(DEV, {})
            require_monitored(self._monitor, self._options, on_dev)
            self._judges.write_samples(self._samples, self.state.step, self._progress.warning)
        except Exception:
            if self._ranks.size == 1:  # costs no training: this checkpoint continues with the evaluation
                self.state.evaluated = False
                self._save(best=False, random_state=before)
            raise  # others may still be evaluating, and would take what a checkpoint needs of them for a batch
        self.state.evaluated = True
        seconds = time.monotonic() - started
        improved = False
        if self._monitor:
            self._trainer.on_score(on_dev[self._monitor], self._goal)
            improved = record_score(self.state, on_dev, self._monitor, self._goal, self._options)
        metrics = {name: value for of_split in found.values() for name, value in of_split.items()}
        self._record(metrics, seconds=round(seconds, 3))
        for split, of_split in found.items():
            self._callbacks.call("dlpipe_evaluated", step=self.state.step, split=split, metrics=of_split)
        losses, monitor, primary = self._mean_losses(columns), self._monitor, list(self._judges.primary())
        self._progress.evaluated(self.state.step, self._epoch(), losses, metrics, monitor, improved, primary)
        return improved

    def _mean_losses(self, columns: StepMetrics) -> dict[str, float]:
        """Return the mean of each loss over the steps since the last evaluation, given the pending ones, which count.

        The next evaluation starts after them.
        """
        state = self.state
        means = mean_losses(with_losses(state.losses, columns, state.counted))
        state.losses, state.counted = {}, len(state.pending)
        return means

    def _save(self, best: bool, random_state: dict[str, Any] | None = None) -> None:
        """Save a checkpoint.

        Args:
            random_state: of the random number generators, if not the current one.
        """
        state = self.state
        columns = self._read_pending()
        self._require_finite_weights()
        content = {name: value for name, value in vars(state).items() if name != "pending"}
        content |= {
            "pending": {
                name: (positions, torch.tensor(values, dtype=torch.float64))
                for name, (positions, values) in columns.items()
            },
            "pending_steps": len(state.pending),
            "log_size": self._log.sync(),
        }
        content["randomness"], *others = self._ranks.gather(random_state or randomness())
        if others:
            content["other_randomness"] = others
        saved = {"loop": content, "trainer": self._trainer.state_dict()}
        if not self._has_saved and (found := unsavable(saved["trainer"])):
            raise PluginError(f"{self._table} state_dict(){found}; expected {PLAIN}")
        blocks = state_blocks_of(self._trainer)
        path = self._checkpoints.save(state.step, self._trainer.model, saved, best=best, blocks=blocks)
        self._saved_at, self._has_saved = state.seconds, True
        self._callbacks.call("dlpipe_checkpoint_saved", step=state.step, path=path)

    def _read_pending(self) -> StepMetrics:
        """Return the metrics of the steps since the last log point: by name, the steps that have it and their values.

        Raises:
            NonFiniteError: one is not; the first step with such a value is named.
        """
        columns = columns_of(self.state.pending, self._ranks)
        if broken := first_broken(columns):
            name, index, value = broken
            step = self.state.step - len(self.state.pending) + index + 1
            self._stop_on_non_finite(step, f"train/{name}", value)
        return columns

    def _require_finite_weights(self) -> None:
        # Of a trainer that averages weights, not the live ones but those that will be used.
        if not all_finite(*(tensor for _, tensor in learned_tensors(self._trainer.model))):
            self._stop_on_non_finite(self.state.step, "a weight or running statistic")

    def _stop_on_non_finite(self, step: int, what: str, value: float = float("nan")) -> None:
        lr = self._trainer.log_values().get("lr")
        rate = f" (now {lr:g})" if lr is not None else ""
        raise NonFiniteError(
            f"step {step}: {what} is {value}. {self._find_nan(step)}\n"
            f"Try a lower learning rate{rate}, or limit the gradients with max_grad_norm = 1.0"
        )

    def _record(self, metrics: Mapping[str, float], **timing: float) -> None:
        position: dict[str, Any] = {"step": self.state.step}
        if self._per_epoch:
            position["epoch"] = round(self._epoch(), 4)
        self._log.append({**position, **metrics, "time": round(time.time(), 3), **timing})

    def _epoch(self) -> float:
        return self.state.step / self._per_epoch if self._per_epoch else 0.0

    def _is_due(self, every: int | None) -> bool:
        every = every or self._per_epoch
        return every is not None and self.state.step % every == 0

    def _next_due(self) -> int:
        """Return the next step after which there is something to do."""
        options = self._options
        periods = {options.log_every, options.evaluate_every, options.checkpoint_every, self._per_epoch}
        step = self.state.step
        due = min(step - step % period + period for period in periods if period)
        return due if self._total is None or self._total <= step else min(due, self._total)
