"""Running a pipeline: its stages one after the other, each in a folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dlpipe.compute import configure_torch, restore_randomness, seed_everything
from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Pipeline, Reference, Stage
from dlpipe.config.settings import LoopOptions
from dlpipe.engine.build import StageComponents, build
from dlpipe.engine.inference import open_reference, open_run
from dlpipe.errors import DataError, DlpipeError, InputError, Interrupted, Preempted
from dlpipe.evaluation.evaluate import evaluate
from dlpipe.evaluation.examples import Examples
from dlpipe.messages import relative
from dlpipe.protocols import Data, Evaluator, Trainer
from dlpipe.registry.hooks import RunView
from dlpipe.registry.loading import Registry
from dlpipe.runs import stage_cache as reuse
from dlpipe.runs.atomic import writing
from dlpipe.runs.checkpoint import MANIFEST, WEIGHTS, Checkpoints, load_state, load_state_blocks, load_weights
from dlpipe.runs.folder import DATA_STATE, LOG, METRICS, PROVENANCE, RESOLVED, RunFolder, read_json, write_json
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.runs.provenance import provenance
from dlpipe.runs.signals import StopSignals
from dlpipe.training.callbacks import Callbacks
from dlpipe.training.loop import DEV, Loop
from dlpipe.training.nan_search import first_non_finite
from dlpipe.training.progress import Progress

TEST = "test"
#: What ``run --fast`` leaves of a run.
FAST = {"epochs": None, "minutes": None, "steps": 4, "log_every": 1, "evaluate_every": 2, "checkpoint_every": 2}
FAST_BATCHES = 2


def run(
    pipeline: Pipeline,
    registry: Registry,
    runs: Path,
    *,
    fast: bool = False,
    fresh: bool = False,
    explain: bool = False,
    callbacks: Mapping[str, object] | None = None,
) -> RunFolder:
    """Run a pipeline in a new folder below `runs`.

    Args:
        fast: a few steps of everything.
        fresh: run every stage, also one whose inputs did not change since an earlier run.
        explain: say for each stage why it is run.
        callbacks: further callbacks, beside those that the pipeline names.

    Raises:
        DlpipeError: see its exit codes; the folder is kept and can be resumed. Only where what the user
            gave is wrong, and nothing was trained yet, is no folder left behind.
    """
    configure_torch(pipeline.settings)  # so that what is written down is what will be used
    folder = RunFolder.create(runs, pipeline, provenance(pipeline, registry) | {"fast": fast})
    try:
        _Run(pipeline, folder, fast=fast, reuse=not (fast or fresh), explain=explain, callbacks=callbacks or {}).go()
    except InputError:
        if not any(folder.path.rglob(f"*/{MANIFEST}")):
            folder.discard()
        raise
    return folder


def resume(folder: RunFolder, registry: Registry, *, allow_local_plugins: bool = False) -> None:
    """Go on with a run from its last checkpoint; it ends as if nothing had happened.

    Raises:
        DlpipeError: as for `run`.
    """
    pipeline = load_pipeline(folder.path / RESOLVED, registry, allow_local_plugins=allow_local_plugins)
    recorded = read_json(folder.path / PROVENANCE)
    settings = dataclasses.replace(pipeline.settings, threads=recorded.get("threads"))
    _Run(dataclasses.replace(pipeline, settings=settings), folder, fast=bool(recorded.get("fast"))).go()


def dry_run(pipeline: Pipeline) -> dict[str, Any]:
    """Build every stage and take one step with one batch, saving nothing; return what was built.

    Raises:
        DlpipeError: something does not fit.
    """
    told: dict[str, Any] = {}

    def find(reference: Reference) -> nn.Module:
        if reference.run is None:
            return models[reference.stage]
        return open_run(reference.run, allow_local_plugins=bool(pipeline.local_plugins)).model

    models: dict[str, nn.Module] = {}
    for name, stage in pipeline.stages.items():
        built = StageComponents(pipeline.settings, stage, find)
        assert built.trainer is not None
        model = models[name] = built.model if built.model is not None else built.trainer.model
        metrics = next(iter(built.trainer.steps()))
        told[name or "pipeline"] = {
            "device": str(built.compute.device),
            "data": {split: _size(built.data.split(split)) for split in built.data.splits},
            "model": type(model).__name__,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "steps_per_epoch": built.trainer.steps_per_epoch,
            "first step": {name: float(value) for name, value in metrics.items()},
        }
    return told


def _size(split: Any) -> int | None:
    return len(split) if hasattr(split, "__len__") else None


class _Run:
    """One process working on a run folder."""

    def __init__(
        self,
        pipeline: Pipeline,
        folder: RunFolder,
        *,
        fast: bool,
        reuse: bool = False,
        explain: bool = False,
        callbacks: Mapping[str, object] | None = None,
    ) -> None:
        self._pipeline, self._folder, self._callbacks = pipeline, folder, callbacks or {}
        self._fast, self._reuse, self._explain = fast, reuse, explain

    def go(self) -> None:
        folder = self._folder
        with folder.lock(), Progress(folder.path / LOG) as progress, StopSignals(progress.message) as signals:
            progress.message(f"run {relative(folder.path)}")
            folder.set_status("running")
            try:
                for name, stage in self._pipeline.stages.items():
                    self._stage(name, stage, progress, signals)
            except (Interrupted, Preempted) as error:
                state = "interrupted" if isinstance(error, Interrupted) else "preempted"
                with contextlib.suppress(DlpipeError):  # the checkpoint counts, not this
                    folder.set_status(state, reason=str(error))
                raise type(error)(f"{error}; go on with: dlpipe resume {relative(folder.path)}") from None
            except BaseException as error:
                with contextlib.suppress(DlpipeError):  # the disk may be full; that error is on its way already
                    folder.set_status("failed", reason=f"{type(error).__name__}: {error}")
                progress.stop()
                if not isinstance(error, OSError):
                    raise
                place = f"{relative(Path(os.fsdecode(error.filename)))}: " if error.filename else ""
                raise DlpipeError(
                    f"{place}{error.strerror or error}. Put that right, then: dlpipe resume {relative(folder.path)}"
                ) from error
            folder.set_status("finished")

    def _stage(self, name: str, stage: Stage, progress: Progress, signals: StopSignals) -> None:
        folder = self._folder.stage(name)
        data: Data | None = None
        depends: dict[str, Any] = {}
        if name:
            if reuse.is_finished(folder):
                return
            data = build(stage.data, {"offline": self._pipeline.settings.offline}, self._find)
            sources = {str(reference): self._digest(reference) for reference in stage.references()}
            depends = reuse.ingredients(self._pipeline, stage, data.fingerprint(), sources)
            depends["--fast"] = self._fast  # what a fast run leaves is no result for others
            found, why = None, "every stage is run"
            if self._reuse:
                found, why = reuse.find_same(self._folder.path.parent, self._folder.path, name, depends)
            if found:
                progress.message(f"stage {name} is not run again: {why}")
                reuse.reuse_stage(found, folder)
                return
            progress.message(f"stage {name}" + (f" is run: {why}" if self._explain else ""))
        runner = _StageRun(
            self._pipeline, stage, self._folder, self._find, progress, signals, fast=self._fast, data=data
        )
        runner.go(self._callbacks)
        if name:
            reuse.finish(folder, depends)

    def _digest(self, reference: Reference) -> str:
        """Return the sha256 of the weights that a reference means."""
        checkpoint = open_reference(self._pipeline, self._folder, reference).checkpoint
        return str(read_json(checkpoint / MANIFEST)["files"][WEIGHTS]["sha256"])

    def _find(self, reference: Reference) -> nn.Module:
        return open_reference(self._pipeline, self._folder, reference).model


class _StageRun:
    """The work on one stage: build, restore, train, judge."""

    def __init__(
        self,
        pipeline: Pipeline,
        stage: Stage,
        run: RunFolder,
        find: Callable[[Reference], nn.Module],
        progress: Progress,
        signals: StopSignals,
        *,
        fast: bool,
        data: Data | None = None,
    ) -> None:
        self._settings, self._find, self._data = pipeline.settings, find, data
        self._run_folder, self._folder = run.path, run.stage(stage.name)
        self._stage = dataclasses.replace(stage, options=LoopOptions(**vars(stage.options) | FAST)) if fast else stage
        self._progress, self._signals = progress, signals
        self._limit = FAST_BATCHES if fast else None
        self._checkpoints = Checkpoints(
            self._folder / "checkpoints", keep=self._stage.options.keep, warn=progress.warning
        )

    def go(self, further_callbacks: Mapping[str, object]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        built = StageComponents(self._settings, self._stage, self._find, data=self._data)
        self._remember_data(built)
        trainer = built.trainer
        assert trainer is not None
        examples = {
            split: Examples(built.data, split, built.compute, limit=self._limit)
            for split in (DEV, TEST)
            if split in built.data.splits
        }
        log = MetricsLog(self._folder / METRICS)
        callbacks = {name: build(use, {}, self._find) for name, use in self._stage.callbacks.items()}
        callbacks |= further_callbacks
        checkpoint = self._checkpoints.latest()
        view = RunView(
            self._settings.name,
            self._folder,
            self._settings.seed,
            int(checkpoint.name[5:]) if checkpoint else 0,
            lambda reason: loop.request_stop(reason),
        )
        watchers = Callbacks(callbacks, view, self._progress.warning)
        loop = Loop(
            trainer,
            self._stage.options,
            evaluators=self._judging(built, DEV),
            dev=examples.get(DEV),
            checkpoints=self._checkpoints,
            log=log,
            watchers=watchers,
            progress=self._progress,
            signals=self._signals,
            samples=self._folder / "samples",
            diagnose=self._diagnose,
        )
        seed_everything(self._settings.seed)
        if checkpoint:
            self._restore(checkpoint, built, loop)
        else:
            log.truncate(0)  # of a process that was killed before its first checkpoint
        self._tell(built, loop, time.monotonic() - started)
        self._note_caveats(trainer)
        watchers.call("dlpipe_run_start")
        try:
            reason = loop.run()
            self._progress.stop()
            self._progress.message(f"{reason} after step {loop.state.step}, {loop.state.seconds:.1f} s of training")
            self._judge(built, loop, examples, log, watchers)
        except BaseException as error:
            watchers.call("dlpipe_run_failed", step=loop.state.step, error=error)
            raise
        finally:
            watchers.call("dlpipe_run_end", step=loop.state.step)
            _close(built)

    def _judge(
        self, built: StageComponents, loop: Loop, examples: Mapping[str, Examples], log: MetricsLog, watchers: Callbacks
    ) -> None:
        """Evaluate the best checkpoint on the test split, once, and write what is to be looked at."""
        evaluators = self._judging(built, TEST)
        if TEST not in examples or not evaluators or built.trainer is None:
            return
        best = self._checkpoints.best()
        if best is not None:
            load_weights(best, built.trainer.model)
        metrics = evaluate(built.trainer, evaluators, examples[TEST])
        step = int(best.name[5:]) if best else loop.state.step
        log.append({"step": step, **metrics, "time": round(time.time(), 3)})
        watchers.call("dlpipe_evaluated", step=step, split=TEST, metrics=metrics)
        for name, evaluator in evaluators.items():
            with writing(self._folder / "figures" / name) as figures:
                evaluator.write(figures)
        shown = "  ".join(f"{name.partition('/')[2]} {value:.4f}" for name, value in metrics.items())
        self._progress.message(f"test (checkpoint of step {step}):  {shown}")

    def _judging(self, built: StageComponents, split: str) -> dict[str, Evaluator]:
        """Return the evaluators that the pipeline wants on a split."""
        uses = self._stage.evaluators
        return {name: judge for name, judge in built.evaluators.items() if split in uses[name].values["splits"]}

    def _restore(self, checkpoint: Path, built: StageComponents, loop: Loop) -> None:
        assert built.trainer is not None
        state = load_state(checkpoint)
        load_weights(checkpoint, built.trainer.model)
        _load_state(built.trainer, checkpoint, state)
        self._checkpoints.continue_from(checkpoint)
        loop.restore(state["loop"])
        self._progress.message(f"resuming after step {loop.state.step}")

    def _remember_data(self, built: StageComponents) -> None:
        """Write down what the data learned; refuse to go on with other data than the run began with."""
        path = self._folder / DATA_STATE
        fingerprint = built.data.fingerprint()
        if path.exists():
            known = read_json(path)["fingerprint"]
            if known != fingerprint:
                raise DataError(
                    f"{self._stage.data.table} the data has changed since this run began (fingerprint {fingerprint}, "
                    f"then {known}); bring the old data back, or start a new run"
                )
        else:
            write_json(path, {"fingerprint": fingerprint, "state": built.data.state()})

    def _note_caveats(self, trainer: Trainer) -> None:
        """Warn of what may keep a resumed run from being exact, and write it down."""
        caveats = list(getattr(trainer, "caveats", ()))
        for caveat in caveats:
            self._progress.warning(f"{self._stage.trainer.table} a resumed run may differ: {caveat}")
        if caveats:
            told = read_json(self._run_folder / PROVENANCE)
            told["caveats"] = told.get("caveats", {}) | {self._stage.trainer.table: caveats}
            write_json(self._run_folder / PROVENANCE, told)

    def _tell(self, built: StageComponents, loop: Loop, seconds: float) -> None:
        assert built.trainer is not None
        model = built.trainer.model
        count = sum(parameter.numel() for parameter in model.parameters())
        sizes = ", ".join(f"{split} {_size(built.data.split(split)) or ''}".strip() for split in built.data.splits)
        self._progress.message(
            f"{self._stage.data.component.name}: {sizes};  {type(model).__name__}: {count:,} parameters on "
            f"{built.compute.device};  ready in {seconds:.1f} s"
        )
        for note in getattr(built.trainer, "notes", ()):
            self._progress.message(f"{self._stage.trainer.component.name}: {note}")
        self._progress.start(loop.state.step, loop.total_steps)

    def _diagnose(self, step: int) -> str:
        """Take the steps up to `step` again from the last checkpoint before it."""
        built = StageComponents(self._settings, self._stage, self._find)
        assert built.trainer is not None
        seed_everything(self._settings.seed)
        checkpoint = self._checkpoints.latest(before=step)
        at = 0
        if checkpoint:
            state = load_state(checkpoint)
            load_weights(checkpoint, built.trainer.model)
            _load_state(built.trainer, checkpoint, state)
            restore_randomness(state["loop"]["randomness"])
            at = state["loop"]["step"]
        model = built.model if built.model is not None else built.trainer.model
        return first_non_finite(built.trainer, model, at, step)


def _load_state(trainer: Trainer, checkpoint: Path, state: Mapping[str, Any]) -> None:
    """Bring a trainer, whose weights are loaded, back to the state of a checkpoint."""
    trainer.load_state_dict(state["trainer"])
    load: Callable[[Iterator[tuple[str, dict[str, Tensor]]]], None] | None = getattr(trainer, "load_state_blocks", None)
    if load is not None:
        load(load_state_blocks(checkpoint))


def _close(built: StageComponents) -> None:
    """Let the components give back what they hold: processes, files."""
    for part in (built.trainer, *built.evaluators.values(), built.data):
        if close := getattr(part, "close", None):
            close()
