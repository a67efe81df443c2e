"""One process working on a run folder: its stages one after the other."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from dlpipe.compute import configure_torch, seed_everything
from dlpipe.config.pipeline import Pipeline, Reference, Stage
from dlpipe.engine.amend import (
    Amendment,
    entry_at_start,
    finish_recording,
    record_amendment,
    try_amendment,
)
from dlpipe.engine.build import build_data
from dlpipe.engine.changes import (
    ACCEPTED,
    IDENTITY,
    PIPELINE_DIGEST,
    accepted_changes,
    begun_with,
    changes_since,
    pipeline_digest,
    record_accepted,
    run_identity,
)
from dlpipe.engine.inference import open_reference
from dlpipe.engine.outcome import end_at_once, recorded_outcome
from dlpipe.engine.run_options import RunOptions
from dlpipe.engine.stage_context import StageContext, record_data
from dlpipe.engine.stage_run import StageRun
from dlpipe.engine.starting_weights import TrainedModel
from dlpipe.errors import (
    DlpipeError,
    InputError,
    errors_in,
)
from dlpipe.messages import printable, relative
from dlpipe.protocols import Data, SupportsClose
from dlpipe.ranks import current_ranks
from dlpipe.runs import stage_cache
from dlpipe.runs.checkpoint import Checkpoints, step_of
from dlpipe.runs.files import read_json
from dlpipe.runs.folder import DATA_STATE, ENDED, LOG, PROVENANCE, STAGES, RunFolder
from dlpipe.runs.identity import content_name, identity
from dlpipe.runs.signals import StopSignals
from dlpipe.runs.streams import unfailing
from dlpipe.training.progress import Progress


class PipelineRun:
    """One process working on a run folder, which it has locked.

    Attributes:
        has_trained: whether it has taken a step.
    """

    def __init__(self, pipeline: Pipeline, folder: RunFolder, options: RunOptions) -> None:
        self._pipeline, self._folder, self._options = pipeline, folder, options
        self._ranks = current_ranks()
        self._resumes = self.has_trained = False
        self._built: dict[str, Data] = {}

    def run(self, *, resumes: bool = False, amendment: Amendment | None = None) -> None:
        """Run the stages that are not finished, and record the outcome."""
        self._resumes = resumes
        folder = self._folder
        with (
            contextlib.redirect_stdout(unfailing(sys.stdout)),
            contextlib.redirect_stderr(unfailing(sys.stderr)),
            self._progress() as progress,
            progress.python_warnings(),
            StopSignals(progress.message, lambda name: end_at_once(folder, name, progress, self._ranks)) as signals,
        ):
            progress.message(f"run {relative(folder.path)}", once=True)
            for warning in self._pipeline.warnings:
                progress.warning(warning)
            if resumes:
                finish_recording(folder, self._pipeline)
                for name in self._pipeline.stages:
                    saved = Checkpoints(folder.stage(name) / "checkpoints", warn=progress.warning)
                    self._ranks.from_leader(saved.recover)
                progress.phase("comparing with what the run began with")
                self._check_unchanged(progress)
            if amendment:
                progress.phase("trying the new settings")
                self._amend(amendment, progress)
            with recorded_outcome(folder, progress), contextlib.ExitStack() as closing:
                closing.callback(lambda: self._close_data(*self._built))
                for name, stage in self._pipeline.stages.items():
                    signals.check(" between two stages")
                    progress.phase("building the data", name)
                    self._run_stage(name, stage, progress, signals)
                    self._close_data(name)

    def _progress(self) -> Progress:
        """Return what reports on the run; only one process does."""
        if self._ranks.leads:
            return Progress(self._folder.path / LOG, keep_warning=self._keep_warning, quiet=self._options.quiet)
        return Progress(None, Console(quiet=True), quiet=True)

    def _check_unchanged(self, progress: Progress) -> None:
        """Compare with what the run began with; refuse or record what has changed."""
        folder, now = self._folder, run_identity(self._pipeline, begun_with(self._pipeline, self._folder))
        unfinished = [
            stage for stage in self._pipeline.stages.values() if not stage_cache.is_finished(folder.stage(stage.name))
        ]
        fingerprint_of = lambda stage: self._data_of(stage).fingerprint()  # noqa: E731
        changes = changes_since(self._pipeline, folder, now, unfinished, fingerprint_of)
        changes = list(dict.fromkeys(change for found in self._ranks.gather(changes) for change in found))
        if not changes:
            return
        if not self._options.accept_changes:
            raise InputError(
                f"{relative(folder.path)} cannot be resumed, since this is not what it began with:\n  "
                + "\n  ".join(changes)
                + "\nRestore what has changed, start a new run, or pass --accept-changes"
            )
        for change in changes:
            progress.warning(f"accepted: {change}")
        for plugin in self._pipeline.local_plugins:
            # The copy is what the run uses from now on.
            if folder.writes and plugin.resolve() != (folder.path / plugin.name).resolve():
                shutil.copy(plugin, folder.path / plugin.name)
        record_accepted(folder, changes, **{IDENTITY: now, PIPELINE_DIGEST: pipeline_digest(folder.path)})
        for stage in unfinished:
            if (folder.stage(stage.name) / DATA_STATE).is_file():
                record_data(folder, stage, self._data_of(stage), self._ranks)

    def _amend(self, amendment: Amendment, progress: Progress) -> None:
        """Try whether the run can continue with other settings, and record them."""
        stage, folder = amendment.pipeline.stages[amendment.stage], self._folder
        data = self._data_of(stage)
        changed = with_threads(amendment.pipeline, read_json(folder.path / PROVENANCE))
        identity_now = run_identity(changed, begun_with(changed, folder))
        checkpoint = self._ranks.from_leader(Checkpoints(folder.stage(stage.name) / "checkpoints").latest)
        if checkpoint:
            progress.message(f"trying the new settings with the checkpoint of step {step_of(checkpoint)}")
            entry = try_amendment(amendment, folder, checkpoint, data, self._find_model)
        else:
            entry = entry_at_start(amendment)
        record_amendment(folder, amendment, entry, identity_now)
        for change in amendment.changes:
            progress.message(f"changed after step {entry['step']}: {change}", result=True)
        self._pipeline = with_threads(amendment.pipeline, read_json(folder.path / PROVENANCE))

    def _keep_warning(self, text: str) -> None:
        """Record a warning in the provenance of the run, once."""
        text = printable(text)
        with contextlib.suppress(DlpipeError):  # what matters on a full disk is reported elsewhere
            self._folder.record(
                self._folder.path / PROVENANCE,
                lambda recorded: recorded | {"warnings": list(dict.fromkeys([*recorded.get("warnings", ()), text]))},
            )

    def _run_stage(self, name: str, stage: Stage, progress: Progress, signals: StopSignals) -> None:
        folder = self._folder.stage(name)
        ingredients: dict[str, Any] = {}
        title = ""
        if name:
            if self._ranks.from_leader(lambda: stage_cache.is_finished(folder)):
                return
            self._ranks.from_leader(lambda: stage_cache.discard_incomplete(folder))
            ingredients = self._ingredients(stage)
            same, why = None, "it is not finished" if self._resumes else "every stage is run"
            if self._options.reuse:
                same, why = self._ranks.from_leader(
                    lambda: stage_cache.find_same(self._folder.path.parent, self._folder.path, name, ingredients)
                )
            if same:
                progress.message(f"stage {name} is not run again: {why}", once=True)
                self._record_reused(name, same)  # first: with its folder, the stage is finished, also after a kill
                self._ranks.from_leader(lambda: stage_cache.reuse_stage(same, folder))
                return
            stages = list(self._pipeline.stages)
            title = f"{name} ({stages.index(name) + 1} of {len(stages)})"
            progress.message(f"stage {title}" + (f" is run: {why}" if self._options.explain else ""), once=True)
        context = StageContext(
            self._pipeline.settings,
            stage,
            self._folder,
            self._find_model,
            progress,
            signals,
            data=self._data_of(stage),
            fast=self._options.fast,
            title=title,
        )
        work = StageRun(context, self._options)
        try:
            work.run()
        finally:
            self.has_trained |= work.has_trained
        if name:
            found = ingredients | {ACCEPTED: accepted_changes(self._folder)}
            self._ranks.from_leader(lambda: stage_cache.finish(folder, found))

    def _record_reused(self, name: str, found: Path) -> None:
        """Record what the run that a stage was taken from says of it."""
        recorded = read_json(found.parents[1] / PROVENANCE)
        if name in recorded.get(STAGES, {}):
            self._folder.record_stage(name, recorded[STAGES][name])
        if ended := recorded.get(ENDED, {}).get(name):
            self._folder.record(
                self._folder.path / PROVENANCE, lambda known: known | {ENDED: known.get(ENDED, {}) | {name: ended}}
            )

    def _data_of(self, stage: Stage) -> Data:
        """Return the data of a stage, built once."""
        if stage.name not in self._built:
            settings = self._pipeline.settings
            seed_everything(settings.seed)  # also for the data of a later stage, and when the run is resumed
            self._built[stage.name] = self._ranks.leader_first(lambda: build_data(settings, stage, self._find_model))
        return self._built[stage.name]

    def _close_data(self, *stages: str) -> None:
        """Let the data of these stages release what it holds."""
        for name in stages:
            data = self._built.pop(name, None)
            if isinstance(data, SupportsClose):
                data.close()

    def _ingredients(self, stage: Stage) -> dict[str, Any]:
        """Return what decides the result of a stage, which is not run again where all of it is the same."""
        device = configure_torch(self._pipeline.settings).device
        begun = begun_with(self._pipeline, self._folder)
        found = identity(self._pipeline, [stage], device, self._folder, begun)
        data = self._data_of(stage)
        with errors_in(stage.data.table, data_table=stage.data.table):
            found[content_name(stage)] = data.fingerprint()
        # What a fast run leaves is not a result for others, nor what began with something else than it ended with.
        return found | {"--fast": self._options.fast, ACCEPTED: []}

    def _find_model(self, reference: Reference) -> TrainedModel:
        return open_reference(self._pipeline, self._folder, reference).built.trained


def with_threads(pipeline: Pipeline, recorded: Mapping[str, Any]) -> Pipeline:
    """Return a pipeline that computes with as many threads as the run has so far, unless it says how many."""
    if pipeline.settings.threads is not None:
        return pipeline
    settings = dataclasses.replace(pipeline.settings, threads=recorded.get("threads"))
    return dataclasses.replace(pipeline, settings=settings)
