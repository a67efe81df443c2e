"""Continuing a run with other settings: ``dlpipe resume RUN --set trainer.epochs=40``.

What changes is tried first, in small and with components of its own; until then, the run is as it was. Then it is
recorded, and from there on the run is resumed like any other: a kill at any moment loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w

from dlpipe.config.changeable import Change, budget_keys, changes_between, require_changeable
from dlpipe.config.check import check_source
from dlpipe.config.pipeline import Pipeline, Stage
from dlpipe.config.source import assign, read_source, source_of_text
from dlpipe.engine.build import FindModel, StageComponents, TrainingComponents, build, build_for_training
from dlpipe.engine.changes import IDENTITY
from dlpipe.engine.judged_splits import evaluators_on
from dlpipe.engine.measure import stepper
from dlpipe.engine.restore import restore_trainer
from dlpipe.errors import CheckpointError, ComponentError, InputError, RunFolderError, errors_in
from dlpipe.json_text import finite
from dlpipe.messages import relative, shown
from dlpipe.protocols import Data
from dlpipe.registry.loading import Registry
from dlpipe.runs import stage_cache
from dlpipe.runs.checkpoint import load_state
from dlpipe.runs.files import read_json, write_json, write_text
from dlpipe.runs.folder import (
    BASELINES,
    CHANGED,
    ENDED,
    ENDED_STATES,
    ORIGINS,
    PREDICTIONS,
    PROVENANCE,
    RESOLVED,
    STAGES,
    RunFolder,
)
from dlpipe.splits import DEV
from dlpipe.training.ending import NO_BETTER, end_of, require_epochs
from dlpipe.training.loop import BEST, PATIENCE
from dlpipe.training.loop_state import LoopState
from dlpipe.training.monitor import monitored
from dlpipe.training.optimizers import BUILT_WITH
from dlpipe.training.schedule import CURVE
from dlpipe.training.trainer_state import own_total_steps

#: The entry of provenance with files that are about to be written; a process that is killed leaves it.
PENDING = "pending"
#: Options of an evaluator that do not decide what its metrics mean.
_NOT_JUDGING = ("splits", "train_examples", "compare_baselines")


@dataclass(frozen=True)
class Amendment:
    """Other settings for a run.

    Args:
        pipeline: with them.
        assignments: as the user gave them.
        stage: the one that continues with them; it may be finished.
        was_ended: whether the run had ended for good.
    """

    pipeline: Pipeline
    changes: Sequence[Change]
    assignments: Sequence[str]
    stage: str
    was_ended: bool


def resolved_pipeline(
    folder: RunFolder, registry: Registry, assignments: Iterable[str] = (), *, allow_local_plugins: bool = False
) -> Pipeline:
    """Return the pipeline of a run, with further assignments."""
    path, pending = folder.path / RESOLVED, read_json(folder.path / PROVENANCE).get(PENDING)
    source = source_of_text(pending["resolved"], str(path)) if pending else read_source(path)
    assign(source, assignments)
    return check_source(source, registry, allow_local_plugins=allow_local_plugins)


def amendment_of(folder: RunFolder, before: Pipeline, after: Pipeline, assignments: Sequence[str]) -> Amendment | None:
    """Return what changes, or None if nothing does.

    Raises:
        InputError: it cannot change, or the run has ended and nothing changes.
    """
    ended, run = folder.status()["state"] in ENDED_STATES, relative(folder.path)
    changes = changes_between(before, after)
    if not changes:
        if ended:
            raise InputError(f"{run} has ended with these settings already ({', '.join(assignments)}); give others")
        return None
    names = list(before.stages)
    begun = [name for name in names if (folder.stage(name) / "checkpoints").is_dir()]
    closed = [name for name in begun[:-1] if stage_cache.is_finished(folder.stage(name))]
    require_changeable(after, changes, closed, run)
    last, changed = begun[-1] if begun else names[0], {change.stage_and_table()[0] for change in changes}
    unfinished = [name for name in names if not stage_cache.is_finished(folder.stage(name))]
    stage = last if ended or last in changed or not unfinished else unfinished[0]
    return Amendment(after, changes, assignments, stage, ended)


def try_amendment(
    amendment: Amendment, folder: RunFolder, checkpoint: Path, data: Data, find_model: FindModel
) -> dict[str, Any]:
    """Restore the checkpoint with the new settings, take a step, and return what to record; nothing is kept.

    Raises:
        InputError: the checkpoint does not fit the new settings, or there is nothing to train with them.
    """
    stage, settings = amendment.pipeline.stages[amendment.stage], amendment.pipeline.settings
    run, told = relative(folder.path), ", ".join(map(str, amendment.changes))
    trainer_at_fault = partial(errors_in, stage.trainer.table, data_table=stage.data.table)
    try:
        with trainer_at_fault():
            components = build_for_training(settings, stage, find_model, data=data)
        with components:
            trainer = components.trainer
            with trainer_at_fault():
                for callback in stage.callbacks.values():
                    build(callback, {"offline": settings.offline}, find_model)
                own = trainer.state_dict()
                state = restore_trainer(trainer, checkpoint)
            _require_recorded(own, checkpoint, run)
            restarts = _restarts(amendment, stage, components, folder, state)
            _require_left(amendment, stage, components, state, restarts, run)
            stepper(stage, trainer)()
    except (CheckpointError, ComponentError) as error:
        raise InputError(f"{run} cannot continue with {told}: {error}. The run is as it was") from error
    return _entry(amendment, state["step"], restarts)


def record_amendment(folder: RunFolder, amendment: Amendment, entry: Mapping[str, Any], identity: Any) -> None:
    """Record what changes, so that the run can be resumed with it, also if this process is killed meanwhile."""
    if not folder.writes:
        return
    folder.set_status("running")
    origins = read_json(folder.path / ORIGINS) if (folder.path / ORIGINS).is_file() else {}
    origins |= {change.key: f"resume --set, after step {entry['step']}" for change in amendment.changes}
    pending = {"stage": amendment.stage, "resolved": tomli_w.dumps(amendment.pipeline.plain()), "origins": origins}
    folder.record(
        folder.path / PROVENANCE,
        lambda recorded: (
            recorded
            | {
                CHANGED: [*recorded.get(CHANGED, []), entry],
                IDENTITY: identity,
                PENDING: pending,
                ENDED: {name: ended for name, ended in recorded.get(ENDED, {}).items() if name != amendment.stage},
            }
        ),
    )
    finish_recording(folder, amendment.pipeline)


def finish_recording(folder: RunFolder, pipeline: Pipeline) -> None:
    """Write the files that `record_amendment` has announced, and remove those of an end that is not one any more.

    Raises:
        RunFolderError: the stage that continues is none of the pipeline.
    """
    pending = read_json(folder.path / PROVENANCE).get(PENDING)
    if pending and folder.writes:
        if "stage" in pending:
            _reopen(folder, pipeline, pending["stage"])
        write_text(folder.path / RESOLVED, pending["resolved"])
        write_json(folder.path / ORIGINS, pending["origins"])
        folder.record(
            folder.path / PROVENANCE,
            lambda recorded: {name: value for name, value in recorded.items() if name != PENDING},
        )


def _reopen(folder: RunFolder, pipeline: Pipeline, name: str) -> None:
    """Remove what says that a stage has ended."""
    if name not in pipeline.stages:
        raise RunFolderError(
            f"{relative(folder.path / PROVENANCE)}: pending.stage is {shown(name)}; expected one of "
            f"{shown(list(pipeline.stages))}"
        )
    stage = folder.stage(name)
    stage_cache.reopen(stage)
    for left in (PREDICTIONS, BASELINES):
        (stage / left).unlink(missing_ok=True)


def restarts_after(folder: Path, stage: str, step: int) -> set[str] | None:
    """Return what begins again since settings changed after the checkpoint of a step, None if none did."""
    entries = [
        entry
        for entry in read_json(folder / PROVENANCE).get(CHANGED, [])
        if entry["stage"] == stage and entry["step"] >= step
    ]
    return {name for entry in entries for name in entry["restarts"]} if entries else None


def _entry(amendment: Amendment, step: int, restarts: Iterable[str]) -> dict[str, Any]:
    return {
        "stage": amendment.stage,
        "step": step,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "set": list(amendment.assignments),
        "changes": finite([change.plain() for change in amendment.changes], str),
        "restarts": sorted(restarts),
    }


def entry_at_start(amendment: Amendment) -> dict[str, Any]:
    """Return what to record of a run that has no checkpoint yet."""
    return _entry(amendment, 0, ())


def _restarts(
    amendment: Amendment, stage: Stage, components: StageComponents, folder: RunFolder, state: Mapping[str, Any]
) -> list[str]:
    """Return what cannot continue: the comparison of checkpoints by another metric, and patience that was used up."""
    keys = {".".join(map(str, change.stage_and_table()[1])) for change in amendment.changes}
    options, restarts = stage.options, []
    monitor, goal = monitored(options, _on_dev(stage, components))
    known = read_json(folder.path / PROVENANCE).get(STAGES, {}).get(stage.name, {})
    before = known.get("monitor", monitor), known.get("monitor_goal", goal)
    evaluator = monitor.split("/")[1] if monitor else ""
    judge = f"evaluators.{evaluator}." if monitor else "evaluators."
    judged = [key for key in keys if key.startswith(judge) and key.removeprefix(judge) not in _NOT_JUDGING]
    if monitor:
        taken = stage.primary_depends_on(evaluator).keys() & stage.from_trainer(evaluator)
        judged += [key for key in keys if key.startswith("trainer.") and key.split(".")[1] in taken]
    if monitor and ((monitor, goal) != before or judged):
        restarts.append(BEST)
    by_patience = state["reason"].startswith(NO_BETTER)
    if by_patience and keys & {"trainer.patience", "trainer.min_delta"}:
        restarts.append(PATIENCE)
    return restarts


def _require_left(
    amendment: Amendment,
    stage: Stage,
    components: TrainingComponents,
    state: Mapping[str, Any],
    restarts: Sequence[str],
    run: str,
) -> None:
    """Refuse settings with which nothing is left to train, or with which the run would have ended before.

    Those of a process that was killed as it ended are accepted: the run then ends as it had.
    """
    trainer, options = components.trainer, stage.options
    require_epochs(options, trainer.steps_per_epoch)
    total = options.budget.total_steps(trainer.steps_per_epoch, own_total_steps(trainer))
    stale = 0 if restarts else state["stale"]
    position = LoopState(step=state["step"], seconds=state["seconds"], stale=stale)
    monitor, _ = monitored(options, _on_dev(stage, components))
    reason = end_of(options, position, total, trainer.steps_per_epoch, monitor)
    if reason and (amendment.was_ended or not state["reason"]):
        table, spec = stage.trainer.table[1:-1], stage.trainer.component.spec
        keys = ["patience"] if reason.startswith(NO_BETTER) else budget_keys(spec, stage.plain()["trainer"])
        more = " or ".join(f"--set {table}.{key}=N" for key in keys)
        raise InputError(
            f"{run} is after step {state['step']}, and with these settings it ends there or earlier ({reason}); to "
            f"train longer, add {more or 'a later end'}"
        )


def _on_dev(stage: Stage, components: StageComponents) -> dict[str, Any]:
    return evaluators_on(DEV, stage, components) if DEV in components.data.splits else {}


def _require_recorded(own: Any, checkpoint: Path, run: str) -> None:
    """Refuse a checkpoint that does not say what its optimizers and schedules were built with."""
    if _lacks(own, load_state(checkpoint)["trainer"]):
        raise InputError(
            f"{run}: its checkpoints were written by a version of dlpipe that did not record the values of optimizers, "
            f'so they cannot change; start a new run from it: [model] start = {{ run = "{run}" }}'
        )


def _lacks(own: Any, saved: Any) -> bool:
    if isinstance(own, Mapping) and isinstance(saved, Mapping):
        missing = any(name in own and name not in saved for name in (BUILT_WITH, CURVE))
        return missing or any(_lacks(own[name], saved[name]) for name in own.keys() & saved.keys())
    if isinstance(own, list) and isinstance(saved, list):
        return any(_lacks(*pair) for pair in zip(own, saved, strict=False))
    return False
