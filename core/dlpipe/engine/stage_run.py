"""The work on one stage: build, restore, train, evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from dlpipe.engine.after_training import evaluate_stage, write_profile
from dlpipe.engine.announcement import announce
from dlpipe.engine.build import StageComponents, TrainingComponents, build, build_for_training
from dlpipe.engine.compilation import CompilationTime, keep_compiled
from dlpipe.engine.nan_origin import where_nan_arose
from dlpipe.engine.profiling import StepProfiler
from dlpipe.engine.rehearsal import rehearse
from dlpipe.engine.resumption import restore_stage
from dlpipe.engine.run_options import RunOptions
from dlpipe.engine.stage_context import FirstCheckpoint, StageContext, record_data
from dlpipe.errors import CheckpointError, ComponentError, Pruned, errors_in, is_out_of_memory
from dlpipe.messages import shown_end
from dlpipe.registry.hooks import RunView
from dlpipe.runs.checkpoint import STATE, step_of
from dlpipe.runs.files import fits
from dlpipe.runs.folder import DATA_STATE
from dlpipe.splits import DEV, TEST
from dlpipe.training.callbacks import Callbacks
from dlpipe.training.loop import Loop

#: The reason with which a search asks for the end of a run: it is not a finished one.
PRUNED = "pruned by the search"


class StageRun:
    """One process working on one stage.

    Attributes:
        has_trained: whether a step has been taken, also by an earlier process.
    """

    def __init__(self, context: StageContext, options: RunOptions) -> None:
        self._context, self._options = context, options
        if context.settings.compile:
            keep_compiled()
        self.has_trained = False

    def run(self) -> None:
        """Train from the last checkpoint (or from the start) to the end, and evaluate the best checkpoint."""
        context, stage = self._context, self._context.stage
        context.ranks.from_leader(lambda: context.folder.mkdir(parents=True, exist_ok=True))
        started = time.monotonic()
        with errors_in(stage.trainer.table, data_table=stage.data.table), closing(context):
            checkpoint = context.ranks.from_leader(context.checkpoints.latest)
            caveats: Sequence[str] = ()
            if self._options.rehearsal and checkpoint is None:
                context.phase("trying everything in small")
                caveats = rehearse(context.settings, stage, context.find_model, context.data).caveats
            context.phase("building the model")
            with build_for_training(
                context.settings, stage, context.find_model, starts=checkpoint is None, data=context.data
            ) as components:
                if context.ranks.from_leader(lambda: not (context.folder / DATA_STATE).exists()):
                    with errors_in(stage.data.table, data_table=stage.data.table):
                        record_data(context.run, stage, components.data, context.ranks)
                self._train_and_evaluate(components, checkpoint, started, caveats)

    def _train_and_evaluate(
        self, components: TrainingComponents, checkpoint: Path | None, started: float, caveats: Sequence[str]
    ) -> None:
        context, options = self._context, self._options
        callbacks = self._callbacks(checkpoint, lambda reason: loop.request_stop(reason))
        loop = self._loop(components, callbacks)
        self._record_stage(components, loop)
        restore_stage(
            context,
            checkpoint,
            components.trainer,
            loop,
            accept_changes=options.accept_changes,
            from_start=options.from_start,
        )
        profiler = self._profiler(components, loop)
        announce(context, components, loop, time.monotonic() - started, caveats)
        callbacks.call("dlpipe_run_start")
        try:
            with context.signals.deferring(), _first_step_after(checkpoint, loop):
                reason = loop.run()
            context.progress.stop()
            ended = {"reason": reason, "step": loop.state.step, "seconds": loop.state.seconds}
            context.progress.message(
                f"{shown_end(reason, loop.state.step)}, {loop.state.seconds:.1f} s of training", once=True
            )
            if reason == PRUNED:
                raise Pruned(f"{PRUNED} at step {loop.state.step}")
            if options.observe:
                options.observe(context.stage.name, components)
            evaluate_stage(context, components, ended, callbacks)
            if profiler:
                write_profile(context, profiler)
        except BaseException as error:
            callbacks.call("dlpipe_run_failed", step=loop.state.step, error=error)
            raise
        finally:
            if profiler:
                profiler.close()
            self.has_trained = loop.state.step > 0
            callbacks.call("dlpipe_run_end", step=loop.state.step)

    def _record_stage(self, components: StageComponents, loop: Loop) -> None:
        """Record what cannot be known later without importing the components: by which metrics the stage is judged.

        The metric is that of the first evaluator that has one, on test if any is, else on dev; the monitor decides on
        checkpoints.
        """
        context = self._context
        splits = {name: config.values["splits"] for name, config in context.stage.evaluators.items()}
        judges = sorted(
            components.evaluators.items(), key=lambda item: (TEST not in splits[item[0]], DEV not in splits[item[0]])
        )
        metric, goal = next(
            ((f"{name}/{judge.primary}", judge.goal) for name, judge in judges if judge.primary), ("", "")
        )
        monitor, monitor_goal = loop.monitor
        known: dict[str, Any] = {
            "metric": metric,
            "goal": goal,
            "monitor": monitor,
            "monitor_goal": monitor_goal,
            "goals": components.goals,
            "primary_depends_on": {name: found for name in splits if (found := context.stage.primary_depends_on(name))},
        }
        context.run.record_stage(context.stage.name, known | {"total_steps": loop.total_steps})

    def _callbacks(self, checkpoint: Path | None, request_stop: Callable[[str], None]) -> Callbacks:
        """Build the callbacks that the pipeline names."""
        resumed_step = step_of(checkpoint) if checkpoint else 0
        context, settings, stage = self._context, self._context.settings, self._context.stage
        view = RunView(
            settings.name,
            context.folder,
            settings.seed,
            resumed_step,
            request_stop,
            stage.name,
            settings.plain() | stage.plain(),
        )
        if not context.run.writes:  # once for a run, not once for each process
            return Callbacks({}, view, context.progress.warning)
        provided = {"offline": settings.offline}
        built = {name: build(config, provided, context.find_model) for name, config in stage.callbacks.items()}
        own: dict[str, object] = {"the record of checkpoints": FirstCheckpoint(context.run, stage.name)}
        if settings.compile:
            own["the time of compilation"] = CompilationTime(context.progress)
        return Callbacks({**built, **self._options.callbacks, **own}, view, context.progress.warning)

    def _loop(self, components: TrainingComponents, callbacks: Callbacks) -> Loop:
        context = self._context
        return Loop(
            components.trainer,
            context.options,
            evaluators=context.evaluators_on(DEV, components),
            dev=context.examples(DEV, components),
            train=context.judged_on_train(components),
            checkpoints=context.checkpoints,
            log=context.log,
            callbacks=callbacks,
            progress=context.progress,
            signals=context.signals,
            samples=context.shown / "samples",
            find_nan=lambda step: where_nan_arose(context, step),
            ranks=context.ranks,
            stage=context.stage.name,
        )

    def _profiler(self, components: StageComponents, loop: Loop) -> StepProfiler | None:
        """Return what records some of the steps, if the user asked for it."""
        if not self._options.profile:
            return None
        left = None if loop.total_steps is None else loop.total_steps - loop.state.step
        profiler = StepProfiler(components.compute, left)
        loop.watch_steps(profiler.watch)
        return profiler


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
