"""One run of a sweep in a separate process: reused from an earlier run, resumed, or started.

An earlier run is reused if everything that decides its result is the same: see `dlpipe.runs.identity`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO

import tomli_w
import torch

from dlpipe.config.pipeline import Pipeline, Reference, Stage
from dlpipe.engine.build import FindModel, build_data, build_for_use
from dlpipe.engine.changes import IDENTITY, accepted_changes, changes_since, run_identity
from dlpipe.engine.execute import dry_run, resume_as, run
from dlpipe.engine.inference import find_in, open_reference
from dlpipe.engine.stage_run import PRUNED
from dlpipe.engine.starting_weights import TrainedModel
from dlpipe.errors import DlpipeError, Interrupted, Preempted, Pruned, RunFolderError, in_words
from dlpipe.registry.hooks import RunView, hookimpl
from dlpipe.registry.loading import Registry, load_local_plugin, load_plugins
from dlpipe.registry.targets import load_target
from dlpipe.runs.checkpoint import Checkpoints, load_state, step_of
from dlpipe.runs.files import read_json, read_text
from dlpipe.runs.folder import (
    DATA_STATE,
    ENDED_STATES,
    METRICS,
    PROVENANCE,
    RESOLVED,
    STAGES,
    STATUS,
    RunFolder,
    began_otherwise,
    byte_of,
)
from dlpipe.runs.identity import in_current_form
from dlpipe.runs.metrics_log import MetricsLog, judged_names
from dlpipe.runs.signals import StopSignals
from dlpipe.runs.stop_signals import STOP_SIGNALS
from dlpipe.splits import DEV, TEST
from dlpipe.sweep.workers import Task

#: Seconds between two looks whether another sweep has finished a run.
WAIT = 0.5


class Fingerprints:
    """The fingerprints of the data of trials, each computed once, as that may mean reading all files."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, pipeline: Pipeline, stage: Stage, find: FindModel) -> str:
        """Return the fingerprint of the data of a stage; it is computed each time if a model is a part of the data."""
        if stage.data.references:
            return _fingerprint(pipeline, stage, find)
        key = json.dumps([pipeline.settings.seed, pipeline.settings.offline, stage.data.plain()], default=str)
        if key not in self._known:
            self._known[key] = _fingerprint(pipeline, stage, find)
        return self._known[key]


def _fingerprint(pipeline: Pipeline, stage: Stage, find: FindModel) -> str:
    return build_data(pipeline.settings, stage, find).fingerprint()


def serve(connection: Connection) -> None:
    """Execute tasks until the connection closes; the main function of a worker process.

    A request to stop affects only the current run. It may be repeated until the run notices it, and cannot
    damage a checkpoint that is being saved.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.setpgrp()  # Ctrl-C reaches only the process of the sweep, which forwards it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    threading.Thread(target=_follow_parent, daemon=True).start()
    # Runs write to their logs; only the sweep writes to the terminal.
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    threads, fingerprints = torch.get_num_threads(), Fingerprints()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        torch.set_num_threads(threads)  # undo the setting of the previous run
        connection.send(outcome(task, fingerprints))


def _follow_parent() -> None:
    """Stop once the process of the sweep has ended, for any reason."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


def outcome(task: Task, fingerprints: Fingerprints) -> dict[str, Any]:
    """Execute one task and return its outcome, also if it fails: see `dlpipe.sweep.workers.work`."""
    try:
        registry = load_plugins()
        for plugin in task.pipeline.local_plugins:
            load_local_plugin(registry, plugin)
        if task.kind == "describe":
            return {"state": "described", **_description(task.pipeline)}
        if task.kind == "build":
            return {"state": "built", "built": dry_run(task.pipeline)}
        return _trial(task, registry, fingerprints)
    except (Interrupted, Preempted):
        return {"state": "stopped"}
    except DlpipeError as error:
        reason = str(error)
    except (Exception, SystemExit) as error:  # a failed trial does not end the others
        reason = in_words(error)
    folder = None
    with contextlib.suppress(DlpipeError, OSError):  # the place may be what is wrong
        folder = RunFolder.unfinished(task.runs, task.pipeline) if task.kind == "run" else None
    left = {"run": str(folder.path), "warnings": _warnings(folder)} if folder else {"run": None}
    return {"state": "failed", "reason": reason, **left}


def _trial(task: Task, registry: Registry, fingerprints: Fingerprints) -> dict[str, Any]:
    if task.fast or task.fresh:
        return _finished(task, registry, None, "run")
    with _claim(task) as claimed:
        if not claimed:
            return {"state": "claimed"}
        pruned = _record(task).pruned_run if task.trial else ""
        folder, how = find_same(task.pipeline, task.runs, fingerprints, pruned)
        if folder and (status := folder.status())["state"] == "failed" and status["time"] > task.since:
            reason = f"in another sweep: {status['reason']}"
            return {"state": "failed", "reason": reason, "run": str(folder.path), "warnings": _warnings(folder)}
        return _finished(task, registry, folder, how)


@contextlib.contextmanager
def _claim(task: Task) -> Iterator[bool]:
    """See that no other sweep is at work on the same pipeline; return whether that is so.

    If the task is to wait, it is so: the other sweep's run is then reused instead of repeated. The operating system
    releases the claim however the process ends.

    Raises:
        Interrupted, Preempted: a signal arrived while waiting.
    """
    folder = task.runs / task.pipeline.settings.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".sweeps.lock").open("a") as file:
        with StopSignals() as signals:
            while not (claimed := _locked(file, byte_of(task.pipeline))) and task.wait:
                signals.check()
                time.sleep(WAIT)
        yield claimed


def _locked(file: TextIO, byte: int) -> bool:
    """Lock a byte of a file until the file is closed; return whether nobody else has locked it."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def _finished(task: Task, registry: Registry, folder: RunFolder | None, how: str) -> dict[str, Any]:
    """Run, resume or reuse a run, and return its outcome."""
    pipeline, pruning = task.pipeline, None
    if task.trial and task.trial.pruner != "none":
        pruning = Pruning(_record(task), task.trial.metric, list(pipeline.stages)[-1])
    callbacks = {"the search": pruning} if pruning else {}
    ended: dict[str, Any] = {"state": "finished"}
    try:
        if folder is None:
            folder = run(pipeline, registry, task.runs, fast=task.fast, fresh=task.fresh, callbacks=callbacks)
        elif (status := folder.status())["state"] == "pruned":
            raise Pruned(status["reason"])
        elif status["state"] != "finished":
            how = "resumed"
            resume_as(pipeline, folder, callbacks=callbacks)
    except Pruned as error:
        ended = {"state": "pruned", "reason": str(error)}
        folder = folder or (pruning.run if pruning else None)
        assert folder is not None
    return {**ended, "how": how, "run": str(folder.path), **results(pipeline, folder)}


def _record(task: Task) -> Any:
    return load_target("dlpipe.sweep.study:TrialRecord")(task.trial)


class Pruning:
    """Tells a search each score on the dev split, and ends the run where the search asks for it.

    Args:
        record: a `dlpipe.sweep.study.TrialRecord`.
        stage: the one that the metric is of.
    """

    def __init__(self, record: Any, metric: str, stage: str) -> None:
        self._record, self._metric, self._stage = record, metric, stage
        self.run: RunFolder | None = None

    @hookimpl
    def dlpipe_evaluated(self, run: RunView, step: int, split: str, metrics: dict[str, float]) -> None:
        """Report the score."""
        if split != DEV or (self._stage and run.folder.name != self._stage):
            return
        value = metrics.get(self._metric)
        if value is not None and self._record.should_be_pruned(step, value):
            self.run = RunFolder(run.folder.parents[1] if self._stage else run.folder)
            self._record.pruned_run = self.run.path.name
            run.request_stop(PRUNED)


def _description(pipeline: Pipeline) -> dict[str, Any]:
    """Return a digest of what decides the results of a pipeline, its primary metric, and the goal of each metric."""
    found = run_identity(pipeline)
    models: dict[str, TrainedModel] = {}
    for name, stage in pipeline.stages.items():
        with build_for_use(pipeline.settings, stage, find_in(models, pipeline)) as components:
            models[name], goals = components.trained, components.goals
            if not stage.data.references:  # else it follows from another stage
                found[name] = components.data.fingerprint()
    digest = hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()
    return {"identity": digest, **_judged_by(stage, goals)}


def find_same(
    pipeline: Pipeline, runs: Path, fingerprints: Fingerprints, pruned: str = ""
) -> tuple[RunFolder | None, str]:
    """Look for an earlier run whose results equal those of a new run.

    A finished one need not be of the same resolved pipeline: its identity decides, so that data may lie elsewhere.

    Args:
        pruned: the name of a run that counts although it was pruned; no other such run does.

    Returns:
        a finished run, or else an unfinished one, and "reused"; or None and what has changed since
        the newest run of this pipeline.
    """
    now, why, same = run_identity(pipeline), "run", []
    resolved = tomli_w.dumps(pipeline.plain())
    for path in RunFolder.paths(runs, pipeline):
        is_resolved = False
        try:
            is_resolved = read_text(path / RESOLVED) == resolved
            if began_otherwise(path) or not (is_resolved or _has_identity(pipeline, path, now)):
                continue
            folder = RunFolder.open(path)
            if folder.status()["state"] == "pruned" and path.name != pruned:
                continue
            changed = _changes(pipeline, folder, now, fingerprints)
        except RunFolderError as error:
            changed = [str(error)]
        if not changed:
            same.append(folder)
        elif is_resolved and why == "run":
            why = f"run again: {'; '.join(changed)}"
    ranks = {state: rank for rank, state in enumerate(ENDED_STATES)}
    same.sort(key=lambda folder: ranks.get(folder.status()["state"], len(ranks)))
    return (same[0], "reused") if same else (None, why)


def _has_identity(pipeline: Pipeline, path: Path, now: Mapping[str, Any]) -> bool:
    """Return whether a run is finished, of one process as a trial is, and has an identity; its data may be other."""
    recorded, status = read_json(path / PROVENANCE), read_json(path / STATUS)
    if status["state"] != "finished" or recorded.get("ranks") != 1 or not isinstance(recorded.get(IDENTITY), dict):
        return False
    return in_current_form(pipeline, recorded[IDENTITY], now) == now


def _changes(pipeline: Pipeline, folder: RunFolder, now: dict[str, Any], fingerprints: Fingerprints) -> list[str]:
    """Return what has changed since a run began, or what it does not tell."""
    finished, stages = folder.status()["state"] == "finished", pipeline.stages.values()
    if finished and not all((folder.stage(stage.name) / DATA_STATE).is_file() for stage in stages):
        return [f"{DATA_STATE} of the earlier run is missing"]
    if accepted_changes(folder):
        return ["the earlier run was resumed with other settings, code or data"]

    def fingerprint_of(stage: Stage) -> str:
        def find(reference: Reference) -> Any:
            return open_reference(pipeline, folder, reference).built.trained

        return fingerprints.of(pipeline, stage, find)

    return changes_since(pipeline, folder, now, stages, fingerprint_of)


def results(pipeline: Pipeline, folder: RunFolder) -> dict[str, Any]:
    """Return the results of a finished run that the table of a sweep needs.

    Returns:
        ``metrics`` of the evaluators, on test, dev and train, of the best checkpoint; ``log``, the file with all
        metrics; ``seconds`` of training, of all stages; ``warnings`` of the run; ``goals`` of the primary metrics on
        dev, and ``primary``, that of the first evaluator that has one, where evaluators of the dev split come first.
    """
    stage = list(pipeline.stages.values())[-1]
    metrics: dict[str, float | None] = {}
    log, checkpoints = folder.stage(stage.name) / METRICS, Checkpoints(folder.stage(stage.name) / "checkpoints")
    best = checkpoints.best()
    for record in MetricsLog(log).records():
        if best is None or record["step"] == step_of(best):  # the test split is evaluated once, with this checkpoint
            judged = judged_names(stage.evaluators)
            metrics |= {name: value for name, value in record.items() if name.startswith(judged)}
    recorded = read_json(folder.path / PROVENANCE).get(STAGES, {}).get(stage.name, {})
    last = [Checkpoints(folder.stage(name) / "checkpoints").latest() for name in pipeline.stages]
    seconds = [load_state(checkpoint)["loop"]["seconds"] for checkpoint in last if checkpoint]
    return {
        "metrics": metrics,
        "log": str(log),
        "seconds": sum(seconds) if seconds else None,
        "warnings": _warnings(folder),
        **_judged_by(stage, recorded.get("goals", {})),
    }


def _warnings(folder: RunFolder) -> list[str]:
    return list(read_json(folder.path / PROVENANCE).get("warnings", []))


def _judged_by(stage: Stage, goals: Mapping[str, str]) -> dict[str, Any]:
    """Return ``goals`` and ``primary``; see `results`."""

    def rank(metric: str) -> tuple[bool, bool]:
        splits = stage.evaluators[metric.partition("/")[0]].values["splits"]
        return DEV not in splits, TEST not in splits

    primary = min(goals, key=rank, default=None)
    known = {f"{DEV}/{metric}": goal for metric, goal in goals.items()}
    return {"goals": known} | ({} if primary is None else {"primary": primary})
