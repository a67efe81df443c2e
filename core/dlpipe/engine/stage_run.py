"""The work on one stage: build, restore, train, evaluate."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from dlpipe.compute import derived_seed, restore_randomness, seed_everything
from dlpipe.config.pipeline import Stage, table_name
from dlpipe.config.settings import LoopOptions, Settings
from dlpipe.data.split_report import split_report
from dlpipe.engine.amend import restarts_after
from dlpipe.engine.baselines import Baselines, tell
from dlpipe.engine.build import FindModel, StageComponents, build
from dlpipe.engine.changes import record_accepted
from dlpipe.engine.compilation import CompilationTime, keep_compiled
from dlpipe.engine.flops import count_flops
from dlpipe.engine.measure import stepper
from dlpipe.engine.memory import memory_in_use
from dlpipe.engine.profiling import TRACE, StepProfiler
from dlpipe.engine.rehearsal import rehearse
from dlpipe.engine.restore import restore_trainer
from dlpipe.errors import (
    CheckpointError,
    ComponentError,
    PluginError,
    Pruned,
    RunFolderError,
    errors_in,
    in_words,
    is_out_of_memory,
)
from dlpipe.evaluation.evaluate import evaluate, write_files
from dlpipe.evaluation.example_scores import write_predictions
from dlpipe.evaluation.examples import Examples
from dlpipe.figures import missing_font
from dlpipe.messages import relative
from dlpipe.protocols import Data, Evaluator, SupportsCaveats, SupportsNotes, SupportsReport
from dlpipe.ranks import Ranks, current_ranks
from dlpipe.registry.hooks import RunView, hookimpl
from dlpipe.report.run_view import ENDED, FIGURES
from dlpipe.runs.checkpoint import STATE, Checkpoints, load_weights, step_of
from dlpipe.runs.files import fits, read_json
from dlpipe.runs.folder import BASELINES, DATA_STATE, METRICS, PREDICTIONS, PROVENANCE, RunFolder
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.runs.signals import StopSignals
from dlpipe.training.callbacks import Callbacks
from dlpipe.training.loop import DEV, Loop, randomness_of
from dlpipe.training.nan_search import first_non_finite
from dlpipe.training.progress import Progress

TEST = "test"
#: The reason with which a search asks for the end of a run: it is not a finished one.
PRUNED = "pruned by the search"
#: The folder of a stage with its profile.
PROFILE = "profile"
#: What ``run --fast`` leaves of a run.
FAST = {"epochs": None, "minutes": None, "steps": 4, "log_every": 1, "evaluate_every": 2, "checkpoint_every": 2}
FAST_BATCHES = 2
#: The entry of provenance with the step of the first checkpoint of each stage.
FIRST_CHECKPOINT = "first_checkpoint"
#: Called with the name of a stage and its components when it has been trained, before they are closed: for tests that
#: look at what a trainer keeps.
Observe = Callable[[str, StageComponents], None]


class _FirstCheckpoint:
    """Records that a stage has saved a checkpoint, so that its loss is noticed."""

    def __init__(self, run: RunFolder, stage: str) -> None:
        self._run, self._stage = run, stage
        self._done = False

    @hookimpl
    def dlpipe_checkpoint_saved(self, step: int) -> None:
        """Record the first one."""
        if not self._done:
            self._run.record(
                self._run.path / PROVENANCE,
                lambda recorded: (
                    recorded | {FIRST_CHECKPOINT: {self._stage: step} | recorded.get(FIRST_CHECKPOINT, {})}
                ),
            )
            self._done = True


class StageRun:
    """One process working on one stage.

    Args:
        fast: only a few steps of everything.
        rehearsal: try everything in small before the first step.
        data: the data of the stage.
        accept_changes: continue although lines of the metrics are missing.
        from_start: if no checkpoint can be used, start at step 0 and discard the metrics.
        observe: see `Observe`.
        profile: record some steps; see `dlpipe.engine.profiling`.
        title: name and number of the stage, for people.

    Attributes:
        has_trained: whether a step has been taken, also by an earlier process.
    """

    def __init__(
        self,
        settings: Settings,
        stage: Stage,
        run: RunFolder,
        find_model: FindModel,
        progress: Progress,
        signals: StopSignals,
        *,
        fast: bool,
        rehearsal: bool,
        data: Data,
        accept_changes: bool = False,
        from_start: bool = False,
        observe: Observe | None = None,
        profile: bool = False,
        title: str = "",
    ) -> None:
        self._observe, self._profile, self._title = observe, profile, title
        self._settings, self._find_model, self._data = settings, find_model, data
        self._accept_changes, self._from_start = accept_changes, from_start
        self._run, self._run_folder, self._folder = run, run.path, run.stage(stage.name)
        # A fast run ends early; the trainer plans its learning rate for the whole run all the same.
        self._stage, self._options = stage, LoopOptions(**vars(stage.options) | FAST) if fast else stage.options
        self._progress, self._signals = progress, signals
        self._limit = FAST_BATCHES if fast else None
        self._rehearsal = rehearsal
        if settings.compile:
            keep_compiled()
        self.has_trained = False
        self._ranks = current_ranks()
        self._checkpoints = Checkpoints(
            self._folder / "checkpoints", keep=self._options.keep, warn=progress.warning, writes=run.writes
        )
        self._log = MetricsLog(self._folder / METRICS, writes=run.writes)
        # What evaluators draw; other ranks than the leader draw it too, since they may have to run the model for it.
        self._discarded = None if run.writes else tempfile.TemporaryDirectory(prefix="dlpipe-")
        self._shown = Path(self._discarded.name) if self._discarded else self._folder

    def run(self, further_callbacks: Mapping[str, object]) -> None:
        """Train from the last checkpoint (or from the start) to the end, and evaluate the best checkpoint."""
        self._ranks.from_leader(lambda: self._folder.mkdir(parents=True, exist_ok=True))
        started = time.monotonic()
        with errors_in(self._stage.trainer.table, data_table=self._stage.data.table):
            checkpoint = self._ranks.from_leader(self._checkpoints.latest)
            if self._rehearsal and checkpoint is None:
                rehearse(self._settings, self._stage, self._find_model, self._data)
            components = StageComponents(
                self._settings, self._stage, self._find_model, starts=checkpoint is None, data=self._data
            )
            if self._ranks.from_leader(lambda: not (self._folder / DATA_STATE).exists()):
                with errors_in(self._stage.data.table, data_table=self._stage.data.table):
                    record_data(self._run, self._stage, components.data, self._ranks)
            callbacks = self._callbacks(checkpoint, further_callbacks, lambda reason: loop.request_stop(reason))
            loop = self._loop(components, callbacks)
            self._record_stage(components, loop)
            self._restore(checkpoint, components, loop)
            profiler = self._profiler(components, loop)
            self._announce(components, loop, time.monotonic() - started)
            callbacks.call("dlpipe_run_start")
            try:
                with self._signals.deferring(), _first_step_after(checkpoint, loop):
                    reason = loop.run()
                self._progress.stop()
                self._progress.message(f"{reason} after step {loop.state.step}, {loop.state.seconds:.1f} s of training")
                if reason == PRUNED:
                    raise Pruned(f"{PRUNED} at step {loop.state.step}")
                if self._observe:
                    self._observe(self._stage.name, components)
                self._record(ENDED, {"reason": reason, "step": loop.state.step, "seconds": loop.state.seconds})
                self._write_of_trainer(components)
                self._evaluate_on_test(components, loop.state.step, callbacks)
                if profiler:
                    self._write_profile(profiler)
            except BaseException as error:
                callbacks.call("dlpipe_run_failed", step=loop.state.step, error=error)
                raise
            finally:
                if profiler:
                    profiler.close()
                self.has_trained = loop.state.step > 0
                callbacks.call("dlpipe_run_end", step=loop.state.step)
                components.close()
                if self._discarded:
                    self._discarded.cleanup()

    def _record(self, key: str, value: Mapping[str, Any]) -> None:
        """Record something of this stage in the provenance of the run."""
        self._run.record(
            self._run_folder / PROVENANCE,
            lambda recorded: recorded | {key: recorded.get(key, {}) | {self._stage.name: value}},
        )

    def _record_stage(self, components: StageComponents, loop: Loop) -> None:
        """Record what cannot be known later without importing the components: by which metrics the stage is judged.

        The metric is that of the first evaluator that has one, on test if any is; the monitor decides on checkpoints.
        """
        splits = {name: config.values["splits"] for name, config in self._stage.evaluators.items()}
        judges = sorted(components.evaluators.items(), key=lambda item: TEST not in splits[item[0]])
        metric, goal = next(
            ((f"{name}/{judge.primary}", judge.goal) for name, judge in judges if judge.primary), ("", "")
        )
        monitor, monitor_goal = loop.monitor
        known = {"metric": metric, "goal": goal, "monitor": monitor, "monitor_goal": monitor_goal}
        self._run.record_stage(self._stage.name, known | {"total_steps": loop.total_steps})

    def _write_of_trainer(self, components: StageComponents) -> None:
        """Let the trainer write what it has to show."""
        if isinstance(components.trainer, SupportsReport):
            folder, table = self._shown / FIGURES / "trainer", self._stage.trainer.table
            write_files(components.trainer.write, folder, table, self._progress.warning)

    def _callbacks(
        self, checkpoint: Path | None, further: Mapping[str, object], request_stop: Callable[[str], None]
    ) -> Callbacks:
        """Build the callbacks that the pipeline names."""
        resumed_step = step_of(checkpoint) if checkpoint else 0
        settings, stage = self._settings, self._stage
        view = RunView(
            settings.name,
            self._folder,
            settings.seed,
            resumed_step,
            request_stop,
            stage.name,
            settings.plain() | stage.plain(),
        )
        if not self._run.writes:  # once for a run, not once for each process
            return Callbacks({}, view, self._progress.warning)
        provided = {"offline": settings.offline}
        built = {name: build(config, provided, self._find_model) for name, config in stage.callbacks.items()}
        own: dict[str, object] = {"the record of checkpoints": _FirstCheckpoint(self._run, stage.name)}
        if settings.compile:
            own["the time of compilation"] = CompilationTime(self._progress)
        return Callbacks({**built, **further, **own}, view, self._progress.warning)

    def _loop(self, components: StageComponents, callbacks: Callbacks) -> Loop:
        assert components.trainer is not None
        return Loop(
            components.trainer,
            self._options,
            evaluators=self._evaluators_on(DEV, components),
            dev=self._examples(DEV, components),
            checkpoints=self._checkpoints,
            log=self._log,
            callbacks=callbacks,
            progress=self._progress,
            signals=self._signals,
            samples=self._shown / "samples",
            find_nan=self._where_nan_arose,
            ranks=self._ranks,
            stage=self._stage.name,
        )

    def _profiler(self, components: StageComponents, loop: Loop) -> StepProfiler | None:
        """Return what records some of the steps, if the user asked for it."""
        if not self._profile:
            return None
        left = None if loop.total_steps is None else loop.total_steps - loop.state.step
        profiler = StepProfiler(components.compute, left)
        loop.watch_steps(profiler.watch)
        return profiler

    def _write_profile(self, profiler: StepProfiler) -> None:
        """Write what was recorded; whatever fails is a warning, as the run itself has ended well."""
        folder = self._shown / PROFILE
        try:
            self._progress.message(profiler.write(folder, self._count_flops))
            self._progress.message(f"{relative(folder / TRACE)} can be opened in https://ui.perfetto.dev")
        except Exception as error:
            self._progress.warning(f"the profile could not be written: {in_words(error)}")

    def _count_flops(self) -> int:
        """Return the floating-point operations of a step, taken by a trainer of its own."""
        components = StageComponents(self._settings, self._stage, self._find_model, data=self._data)
        try:
            assert components.trainer is not None
            take_step = stepper(self._stage, components.trainer)
            take_step()  # a trainer may prepare something in its first step
            return count_flops(take_step)
        finally:
            components.close(keep_data=True)

    def _examples(self, split: str, components: StageComponents) -> Examples | None:
        if split not in components.data.splits:
            return None
        examples = Examples(components.data, split, components.compute, limit=self._limit)
        if self._ranks.size == 1:  # several ranks stop together, at the next step that they all know of
            examples.check_stop = lambda: self._signals.check(f" during the evaluation on {split}")
        return examples

    def _evaluators_on(self, split: str, components: StageComponents) -> dict[str, Evaluator]:
        """Return the evaluators that the pipeline wants on a split."""
        configs = self._stage.evaluators
        return {name: each for name, each in components.evaluators.items() if split in configs[name].values["splits"]}

    def _restore(self, checkpoint: Path | None, components: StageComponents, loop: Loop) -> None:
        """Restore the state of a checkpoint, or begin from the seed."""
        seed, rank = self._settings.seed, self._ranks.rank
        seed_everything(derived_seed(seed, "rank", rank) if rank else seed)  # such as that of dropout
        if checkpoint is None:
            self._ranks.from_leader(self._require_nothing_lost)
            self._log.truncate(0)  # written by a process that was killed before its first checkpoint
            return
        assert components.trainer is not None
        state = restore_trainer(components.trainer, checkpoint)
        with fits(checkpoint / STATE, "the loop", CheckpointError):
            self._ranks.from_leader(lambda: self._check_metrics(state))
            loop.restore(state, restarts_after(self._run_folder, self._stage.name, state["step"]))
        self._checkpoints.continue_from(checkpoint)
        self._progress.message(f"resuming after step {loop.state.step}")

    def _require_nothing_lost(self) -> None:
        """Refuse to start at step 0 if the run had checkpoints, unless the user asks for it."""
        first = read_json(self._run_folder / PROVENANCE).get(FIRST_CHECKPOINT)
        saved = isinstance(first, dict) and self._stage.name in first
        steps = self._checkpoints.steps()
        if not self._from_start and (steps or saved):
            folder = relative(self._checkpoints.folder)
            found = f"damaged: step {', '.join(map(str, steps))}" if steps else "all are gone"
            raise RunFolderError(
                f"{folder}: the run has saved checkpoints, but none can be used ({found}). Restore one, start a new "
                "run, or start this one at step 0 and discard its metrics: "
                f"dlpipe resume {relative(self._run_folder)} --from-start"
            )

    def _check_metrics(self, state: Mapping[str, Any]) -> None:
        """Refuse to lose lines of the metrics silently, or to append to half a line."""
        if damage := self._log.damage(state["log_size"]):
            message = f"{relative(self._log.path)}: {damage} when the checkpoint of step {state['step']} was saved"
            if not self._accept_changes:
                raise RunFolderError(
                    f"{message}; restore the file, start a new run, or continue without the missing lines: "
                    "--accept-changes"
                )
            self._progress.warning(f"accepted: {message}; lines are missing")
            record_accepted(self._run, [message])
            self._log.repair(state["log_size"])

    def _evaluate_on_test(self, components: StageComponents, last_step: int, callbacks: Callbacks) -> None:
        """Evaluate the best checkpoint on the test split, once, and write predictions, figures and tables."""
        evaluators, examples = self._evaluators_on(TEST, components), self._examples(TEST, components)
        if examples is None or not evaluators:
            self._compare(components, self._examples(DEV, components), {})
            return
        best = self._ranks.from_leader(self._checkpoints.best)
        if best is not None:
            load_weights(best, components.trained_model)
        metrics = evaluate(components.trained_model, evaluators, examples, stage=self._stage.name)
        step = step_of(best) if best else last_step
        self._log.append({"step": step, **metrics, "time": round(time.time(), 3)})
        callbacks.call("dlpipe_evaluated", step=step, split=TEST, metrics=metrics)
        write_predictions(
            self._shown / PREDICTIONS,
            evaluators,
            components.data,
            TEST,
            stage=self._stage.name,
            notice=self._progress.message,
            warn=self._progress.warning,
        )
        for name, evaluator in evaluators.items():
            table = table_name(self._stage.name, "evaluators", name)
            write_files(evaluator.write, self._shown / FIGURES / name, table, self._progress.warning)
        shown = "  ".join(f"{name.partition('/')[2]} {value:.4f}" for name, value in metrics.items())
        self._progress.message(f"test (checkpoint of step {step}):  {shown}", result=True)
        self._compare(components, examples, metrics)

    def _compare(self, components: StageComponents, examples: Examples | None, metrics: Mapping[str, float]) -> None:
        """Evaluate the baselines of the evaluators and record what they reach; not in a fast run."""
        if examples is None or self._limit is not None or not self._run.writes:
            return
        baselines = Baselines(self._stage, components, examples, self._find_model, self._settings.seed)
        if found := baselines.found(metrics):
            self._run.record(self._folder / BASELINES, lambda _: found)
            tell(found, components, examples.split, metrics, self._progress)

    def _announce(self, components: StageComponents, loop: Loop, seconds: float) -> None:
        """Say what is going to be trained and on what, and what the trainer has to say about it."""
        data, trainer, model = components.data, components.trainer, components.trained_model
        count = f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters"
        if self._stage.model and self._stage.model.values.get("freeze"):
            count += f", {sum(each.numel() for each in model.parameters() if each.requires_grad):,} of them trained,"
        with errors_in(self._stage.data.table, data_table=self._stage.data.table):
            sizes = ", ".join(f"{split} {size_of(data.split(split)) or ''}".strip() for split in data.splits)
        self._progress.message(
            f"{self._stage.data.component.name}: {sizes};  {type(model).__name__}: {count} on "
            f"{components.compute.device};  ready in {seconds:.1f} s"
        )
        if components.start:
            self._progress.message(components.start)
        notes, warnings = split_report(data)
        for note in notes:
            self._progress.message(f"{self._stage.data.component.name}: {note}")
        for warning in warnings:
            self._progress.warning(f"{self._stage.data.table} {warning}")
        self._check_fonts(data)
        for config, component in ((self._stage.model, components.model), (self._stage.trainer, trainer)):
            if config and isinstance(component, SupportsNotes):
                for note in component.notes:
                    self._progress.message(f"{config.component.name}: {note}")
        if isinstance(trainer, SupportsCaveats) and trainer.caveats:
            self._record_caveats(list(trainer.caveats))
        memory = memory_in_use(components.compute.device)
        position = lambda: loop.state.step  # noqa: E731
        self._progress.start(position, loop.total_steps, stage=self._title, left=loop.seconds_left, memory=memory)

    def _check_fonts(self, data: Data) -> None:
        """Warn if figures cannot show the names of the classes."""
        labels = [str(label) for label in data.facts.get("labels", ())]
        draws = any("matplotlib" in config.component.spec.requires for config in self._stage.evaluators.values())
        if draws and (missing := missing_font(labels)):
            self._progress.warning(f"{self._stage.data.table} {missing}")

    def _record_caveats(self, caveats: list[str]) -> None:
        """Warn of what may make a resumed run differ from an uninterrupted one, and record it."""
        table = self._stage.trainer.table
        for caveat in caveats:
            self._progress.warning(f"{table} a resumed run may differ: {caveat}")
        self._run.record(
            self._run_folder / PROVENANCE,
            lambda recorded: recorded | {"caveats": recorded.get("caveats", {}) | {table: caveats}},
        )

    def _where_nan_arose(self, step: int) -> str:
        """Return a sentence about the first NaN; a search that fails must not hide that there is one."""
        try:
            return self._find_nan(step)
        except Exception as error:
            return f"The search for the first one failed: {in_words(error)}."

    def _find_nan(self, step: int) -> str:
        """Repeat the steps up to `step` from the last checkpoint before it, and say where the first NaN appears."""
        # Not compiled, since the modules inside a compiled one are not called.
        settings = replace(self._settings, compile=False)
        checkpoint = self._ranks.from_leader(lambda: self._checkpoints.latest(before=step))
        components = StageComponents(settings, self._stage, self._find_model, starts=checkpoint is None)
        trainer = components.trainer
        assert trainer is not None
        seed_everything(self._settings.seed)
        start = 0
        if checkpoint:
            state = restore_trainer(trainer, checkpoint)
            restore_randomness(randomness_of(self._ranks, state))
            start = state["step"]
        live: nn.Module = components.model if components.model is not None else trainer.model
        return first_non_finite(trainer, live, start, step)


def record_data(run: RunFolder, stage: Stage, data: Data, ranks: Ranks) -> None:
    """Record the content of the data of a stage that begins, and what the data learned; it is the same on all ranks."""
    table, fingerprint = stage.data.table, data.fingerprint()
    if not isinstance(fingerprint, str):
        raise PluginError(f"{table} fingerprint() returns {type(fingerprint).__name__}; expected a string")
    ranks.require_same({table: fingerprint}, "content of the data")
    run.record(run.stage(stage.name) / DATA_STATE, lambda _: {"fingerprint": fingerprint, "state": data.state()})


def size_of(split: Any) -> int | None:
    """Return the number of examples of a split, or None for a stream."""
    return len(split) if hasattr(split, "__len__") else None


@contextmanager
def _first_step_after(checkpoint: Path | None, loop: Loop) -> Iterator[None]:
    """Blame the checkpoint for what fails in the first step after it, since the same code has taken steps before."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, ComponentError) and error.__cause__ else error
        if checkpoint is None or loop.state.step > step_of(checkpoint) or not loop.state.evaluated:
            raise
        if is_out_of_memory(cause):  # this may be a smaller machine
            raise
        with fits(checkpoint / STATE, "the trainer", CheckpointError):
            raise cause from None
