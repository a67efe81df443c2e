"""Running a pipeline: in a new folder, in the folder of an earlier run, or only in small."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlpipe.config.pipeline import Pipeline
from dlpipe.engine.amend import (
    Amendment,
    amendment_of,
    resolved_pipeline,
)
from dlpipe.engine.build import build, opened_data
from dlpipe.engine.changes import (
    IDENTITY,
    run_identity,
)
from dlpipe.engine.inference import find_in
from dlpipe.engine.pipeline_run import PipelineRun, with_threads
from dlpipe.engine.rehearsal import rehearse
from dlpipe.engine.run_options import Observe, RunOptions
from dlpipe.engine.stage_context import size_of
from dlpipe.engine.starting_weights import TrainedModel
from dlpipe.errors import (
    InputError,
    errors_in,
)
from dlpipe.ranks import current_ranks, joined
from dlpipe.registry.loading import Registry
from dlpipe.runs.files import read_json
from dlpipe.runs.folder import PROVENANCE, RunFolder
from dlpipe.runs.provenance import provenance


def run(
    pipeline: Pipeline,
    registry: Registry,
    runs: Path,
    *,
    fast: bool = False,
    fresh: bool = False,
    rehearsal: bool = False,
    explain: bool = False,
    profile: bool = False,
    callbacks: Mapping[str, object] | None = None,
    observe: Observe | None = None,
    quiet: bool = False,
) -> RunFolder:
    """Run a pipeline in a new folder below `runs`.

    Args:
        fast: only a few steps of everything.
        fresh: run every stage, even if its inputs did not change since an earlier run.
        rehearsal: before the first step, try in small everything that the run will need; see
            `dlpipe.engine.rehearsal`.
        explain: say for each stage why it is run.
        profile: record some steps of each stage; see `dlpipe.engine.profiling`.
        callbacks: callbacks in addition to those that the pipeline names.
        observe: see `dlpipe.engine.run_options.Observe`.
        quiet: show only warnings, errors and the result.

    Raises:
        DlpipeError: see its exit codes; the folder is kept and can be resumed. The folder is removed only if the
            user's input is wrong and nothing has been trained yet.
    """
    options = _for_new_run(
        fast=fast,
        fresh=fresh,
        rehearsal=rehearsal,
        explain=explain,
        profile=profile,
        callbacks=callbacks or {},
        observe=observe,
        quiet=quiet,
    )
    with joined(pipeline.settings.parallel), contextlib.ExitStack() as held:
        folder = held.enter_context(_created(pipeline, registry, runs, options))
        _run_in(folder, pipeline, options, held)
        return folder


def run_or_resume(
    pipeline: Pipeline, registry: Registry, runs: Path, *, accept_changes: bool = False, **options: Any
) -> RunFolder:
    """Resume the latest unfinished run of the same pipeline, or start a new one if there is none.

    Of several processes that do so at once, one starts a run; the others find it.

    Args:
        accept_changes: see `resume`.
        options: see `run`; `fast`, `fresh` and `rehearsal` are for a new run only.

    Raises:
        RunFolderError: another process works on the run.
    """
    with joined(pipeline.settings.parallel) as ranks, contextlib.ExitStack() as held:
        with contextlib.ExitStack() as starting:

            def look() -> RunFolder | None:
                starting.enter_context(RunFolder.starting(runs, pipeline))
                return RunFolder.unfinished(runs, pipeline)

            found = ranks.from_leader(look)
            if found is None:
                of_new = _for_new_run(**options)
                folder = held.enter_context(_created(pipeline, registry, runs, of_new))
        if found is None:
            _run_in(folder, pipeline, of_new, held)
            return folder
        folder = RunFolder(found.path, writes=ranks.leads)
        for_new_runs = ("fast", "fresh", "rehearsal")
        shared = {name: value for name, value in options.items() if name not in for_new_runs}
        resume_as(pipeline, folder, accept_changes=accept_changes, **shared)
        return folder


def _for_new_run(*, fresh: bool = False, **options: Any) -> RunOptions:
    return RunOptions(reuse=not (fresh or options.get("fast")), **options)


@contextlib.contextmanager
def _created(pipeline: Pipeline, registry: Registry, runs: Path, options: RunOptions) -> Iterator[RunFolder]:
    """Create the folder of a new run, which is locked while entered."""
    ranks = current_ranks()
    began_with = run_identity(pipeline)  # first, as it sets up torch, and provenance records what will be used
    ranks.require_same(began_with, "program or machine")
    record = provenance(pipeline, registry) | {"fast": options.fast, "ranks": ranks.size, IDENTITY: began_with}
    with contextlib.ExitStack() as held:
        path = ranks.from_leader(lambda: held.enter_context(RunFolder.create(runs, pipeline, record)).path)
        yield RunFolder(path, writes=ranks.leads)


def _run_in(folder: RunFolder, pipeline: Pipeline, options: RunOptions, held: contextlib.ExitStack) -> None:
    """Run a pipeline in its new folder, which is removed if the input is wrong and nothing has been trained yet.

    Args:
        held: the lock of the folder.
    """
    work = PipelineRun(pipeline, folder, options)
    try:
        work.run()
    except InputError:
        if not work.has_trained:
            folder.discard(held.close)
        raise


def resume(
    folder: RunFolder,
    registry: Registry,
    assignments: Sequence[str] = (),
    *,
    allow_local_plugins: bool = False,
    accept_changes: bool = False,
    from_start: bool = False,
    profile: bool = False,
    observe: Observe | None = None,
    quiet: bool = False,
) -> None:
    """Resume a run from its last checkpoint; it ends as if it had not been interrupted.

    Args:
        assignments: settings that change from here on, such as ``"trainer.epochs=40"``; see `dlpipe.engine.amend`.
        accept_changes: continue although code, data or ``resolved.toml`` are not what the run began with; what has
            changed is recorded.
        from_start: if no checkpoint is left or all are damaged, start at step 0 and discard the metrics.
        profile: as for `run`.
        observe: see `dlpipe.engine.run_options.Observe`.
        quiet: as for `run`.

    Raises:
        DlpipeError: as for `run`.
        InputError: something has changed and `accept_changes` is not set; an assignment cannot change; or no
            checkpoint can be used and `from_start` is not set. The run is as it was.
    """
    pipeline = resolved_pipeline(folder, registry, allow_local_plugins=allow_local_plugins)
    amendment = None
    if assignments:
        changed = resolved_pipeline(folder, registry, assignments, allow_local_plugins=allow_local_plugins)
        amendment = amendment_of(folder, pipeline, changed, assignments)
    resume_as(
        pipeline,
        folder,
        amendment=amendment,
        accept_changes=accept_changes,
        from_start=from_start,
        profile=profile,
        observe=observe,
        quiet=quiet,
    )


def resume_as(
    pipeline: Pipeline,
    folder: RunFolder,
    *,
    amendment: Amendment | None = None,
    accept_changes: bool = False,
    from_start: bool = False,
    explain: bool = False,
    profile: bool = False,
    callbacks: Mapping[str, object] | None = None,
    observe: Observe | None = None,
    quiet: bool = False,
) -> None:
    """Resume a run of a pipeline that has been loaded already; see `resume` and, for `callbacks` and `explain`, `run`.

    The local plugins of `pipeline` are used, not their copies in the run folder.
    """
    recorded = read_json(folder.path / PROVENANCE)
    pipeline = with_threads(pipeline, recorded)
    with joined((amendment.pipeline if amendment else pipeline).settings.parallel) as ranks:
        folder = RunFolder(folder.path, writes=ranks.leads)
        options = RunOptions(
            fast=bool(recorded.get("fast")),
            accept_changes=accept_changes,
            from_start=from_start,
            explain=explain,
            profile=profile,
            callbacks=callbacks or {},
            observe=observe,
            quiet=quiet,
        )
        with folder.lock():
            PipelineRun(pipeline, folder, options).run(resumes=True, amendment=amendment)


def dry_run(pipeline: Pipeline) -> dict[str, Any]:
    """Rehearse every stage, keeping nothing; return what was built, by stage.

    Raises:
        DlpipeError: something does not fit.
    """
    for warning in pipeline.warnings:
        warnings.warn(warning, stacklevel=2)
    with joined(pipeline.settings.parallel):
        return _rehearse_all(pipeline)


def _rehearse_all(pipeline: Pipeline) -> dict[str, Any]:
    models: dict[str, TrainedModel] = {}
    find_model = find_in(models, pipeline)
    built: dict[str, Any] = {}
    for name, stage in pipeline.stages.items():
        with (
            errors_in(stage.trainer.table, data_table=stage.data.table),
            opened_data(pipeline.settings, stage, find_model) as data,
        ):
            found = rehearse(pipeline.settings, stage, find_model, data)
            components, metrics = found.components, found.metrics
            for callback in stage.callbacks.values():
                build(callback, {"offline": pipeline.settings.offline}, find_model)
            sizes = {split: size_of(data.split(split)) for split in data.splits}
            models[name], model = components.trained, components.live_model
        built[name or "pipeline"] = {
            "device": str(components.compute.device),
            "data": sizes,
            "model": type(model).__name__,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "steps_per_epoch": components.trainer.steps_per_epoch,
            "first step": {name: float(components.compute.ranks.mean(each)) for name, each in metrics.items()},
        }
    return built
