"""Running the trials of a sweep: on this machine, several at a time, all of a grid or those that a search proposes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tomli_w

from dlpipe.config.pipeline import Pipeline
from dlpipe.errors import InputError
from dlpipe.launch import launched, usable_cores
from dlpipe.messages import counted, relative, shown_number
from dlpipe.messages import shown as shown_value
from dlpipe.progress import activity
from dlpipe.registry.targets import load_target
from dlpipe.runs.signals import StopSignals
from dlpipe.sweep.planned import Sweep
from dlpipe.sweep.searching import Searching, require_optuna
from dlpipe.sweep.table import Metric, Row, shown_metric
from dlpipe.sweep.workers import Task, work


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the trials are run.

    Args:
        jobs: runs at the same time; by default as many as there are GPUs, or cores for.
        wait: whether to wait for trials that other sweeps are at work on; else they are left out.
        budget: seconds after which a search starts no further trial.
        dry: build every trial and train on one batch; store nothing.
        quiet: say less.
        again: what starts the sweep again, for messages.
        notice: called with each message.
    """

    jobs: int | None = None
    wait: bool = True
    budget: float | None = None
    dry: bool = False
    fast: bool = False
    fresh: bool = False
    quiet: bool = False
    again: str = ""
    notice: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Result:
    """What has come of a sweep.

    Args:
        sweep: with the trials that were run.
        rows: empty if other sweeps are still at work on some of the runs.
        failed: how many of the `total` runs have failed.
    """

    sweep: Sweep
    rows: Sequence[Row] = ()
    metric: Metric = field(default_factory=Metric)
    failed: int = 0
    total: int = 0


def require_runnable(planned: Sweep, *, budget: float | None, dry: bool) -> None:
    """Refuse what cannot be run.

    Raises:
        InputError: a budget is for a search only.
        PluginError: the search needs a package that is not installed.
    """
    if budget is not None and not planned.search:
        raise InputError("--budget is for a search; add [sweep.search], or leave it out: a grid has its trials")
    if planned.search and not dry:
        require_optuna()


def run_sweep(planned: Sweep, runs: Path, options: Options) -> Result:
    """Run all trials on this machine.

    Raises:
        InputError: several processes were started, or a run does not give the metric to compare by.
        Interrupted, Preempted: a signal arrived; what is done is kept.
    """
    require_runnable(planned, budget=options.budget, dry=options.dry)
    if (launch := launched()).size > 1:
        raise InputError(
            f"dlpipe sweep starts its own processes, but {launch.size} were started ({launch.by} = {launch.size}), "
            "each of which would do so; start it once, or once in each of several jobs"
        )
    pipelines = distinct_pipelines(planned)
    kind: Literal["run", "build"] = "build" if options.dry else "run"
    todo = [
        Task(pipeline, runs, kind=kind, fast=options.fast, fresh=options.fresh, since=time.time())
        for pipeline, _ in pipelines.values()
    ]
    jobs = _jobs(todo, options.jobs)
    if planned.search and not options.dry:
        assert planned.base
        return _search(Searching(planned, replace(todo[0], pipeline=planned.base), options.budget), jobs, options)
    return _grid(planned, pipelines, todo, jobs, options)


def _grid(
    planned: Sweep,
    pipelines: Mapping[str, tuple[Pipeline, str]],
    tasks: list[Task],
    jobs: tuple[int, list[str]],
    options: Options,
) -> Result:
    """Run all trials of a grid."""
    number, gpus = min(jobs[0], len(tasks)), jobs[1]
    labels = [label for _, label in pipelines.values()]
    if not options.quiet:
        trials, runs = counted(len(planned.trials), "trial"), counted(len(tasks), "run")
        options.notice(f"sweep {planned.name}: {trials}, {runs}, {number} at a time")

    def told(index: int, outcome: Mapping[str, Any]) -> str:
        name = shown_metric(planned, [outcome]).name if outcome["state"] == "finished" else ""
        return f"{labels[index]}: {_outcome_text(name, outcome)}"

    with _stop_signals(options) as signals:
        completed = work(tasks, number, signals, gpus, wait_for_others=options.wait)
        check = partial(_require_metric, planned)
        ended = _run_all(len(tasks), told, completed, signals, check, number, options)
    failed = _failed(ended)
    if len(ended) < len(tasks):
        _mention_others(len(tasks) - len(ended), len(tasks), options)
        return Result(planned, failed=failed, total=len(tasks))
    outcomes = {key: ended[index] for index, key in enumerate(pipelines)}
    rows = [Row(trial, tuple(outcomes[_key(pipeline)] for pipeline in trial.pipelines)) for trial in planned.trials]
    metric = Metric() if options.dry else shown_metric(planned, [each for row in rows for each in row.outcomes])
    return Result(planned, rows, metric, failed, len(tasks))


def _search(searching: Searching, jobs: tuple[int, list[str]], options: Options) -> Result:
    """Run trials of a search until there are enough."""
    number, gpus, search = min(jobs[0], searching.total), jobs[1], searching.search
    if not options.quiet:
        name = searching.sweep.name
        options.notice(f"sweep {name}: {search.method} search, {search.trials} trials in all, {number} at a time")

    def told(index: int, outcome: Mapping[str, Any]) -> str:
        return f"{searching.label(index)}: {_outcome_text(searching.metric.name, outcome)}"

    with (
        _stop_signals(options) as signals,
        contextlib.closing(work(searching.tasks(), number, signals, gpus, wait_for_others=options.wait)) as worked,
    ):
        completed = ((index, outcome) for index, outcome in worked if searching.completed(index, outcome))
        ended = _run_all(searching.total, told, completed, signals, lambda _: None, number, options)
    if searching.ended_early:
        options.notice(f"{searching.ended_early}: {len(searching.rows())} of {search.trials} trials were run")
    elif len(ended) < searching.total:
        _mention_others(searching.total - len(ended), searching.total, options)
    complete = searching.ended_early or len(ended) == searching.total
    rows = searching.rows() if complete else []
    found = searching.result() if rows else searching.sweep
    return Result(found, rows, searching.metric, _failed(ended), searching.total)


def _stop_signals(options: Options) -> StopSignals:
    return StopSignals(lambda message: options.notice(message.replace("after this step", "of all that runs")))


def _mention_others(count: int, total: int, options: Options) -> None:
    options.notice(
        f"{count} of {total} runs are in progress in other sweeps; the last of these to end writes the table"
    )


def _failed(ended: Mapping[int, Mapping[str, Any]]) -> int:
    return sum(outcome["state"] == "failed" for outcome in ended.values())


def _jobs(tasks: list[Task], jobs: int | None) -> tuple[int, list[str]]:
    """Return how many runs to execute at a time, and the GPUs to share out."""
    pipelines = [task.pipeline for task in tasks]
    gpus = _gpus(pipelines)
    return jobs or len(gpus) or _default_jobs(pipelines), gpus


def _key(pipeline: Pipeline) -> str:
    return tomli_w.dumps(pipeline.plain())


def distinct_pipelines(planned: Sweep) -> dict[str, tuple[Pipeline, str]]:
    """Return the pipelines to run and what they are called, by content; trials with the same content share one."""
    found: dict[str, tuple[Pipeline, str]] = {}
    for trial in planned.trials:
        for number, pipeline in enumerate(trial.pipelines):
            label = ", ".join(filter(None, [trial.label, trial.run_name(number)]))
            found.setdefault(_key(pipeline), (pipeline, label))
    return found


def _on_cpu(pipelines: list[Pipeline]) -> bool:
    return all(pipeline.settings.device == "cpu" for pipeline in pipelines)


def _gpus(pipelines: list[Pipeline]) -> list[str]:
    """Return the GPUs to share out; none if a pipeline names one itself (``cuda:1``), or if all use the CPU."""
    if _on_cpu(pipelines) or any(":" in pipeline.settings.device for pipeline in pipelines):
        return []
    found: list[str] = load_target("dlpipe.compute:visible_gpus")()
    return found


def _default_jobs(pipelines: list[Pipeline]) -> int:
    threads = [pipeline.settings.threads for pipeline in pipelines]
    if any(count is None for count in threads):
        return 1
    if not _on_cpu(pipelines) and load_target("torch.accelerator:is_available")():
        return 1
    return max(1, usable_cores() // max(count or 1 for count in threads))


def _run_all(
    count: int,
    told: Callable[[int, Mapping[str, Any]], str],
    completed: Generator[tuple[int, dict[str, Any]]],
    signals: StopSignals,
    check: Callable[[Mapping[str, Any]], None],
    jobs: int,
    options: Options,
) -> dict[int, Mapping[str, Any]]:
    """Return the outcomes of all tasks, except those of other sweeps, with a message for each when it ends.

    Args:
        told: returns the message about an outcome, given its index.
        check: raises if the other tasks are in vain.
    """
    outcomes: dict[int, Mapping[str, Any]] = {}
    claimed = 0

    def detail() -> str:
        failed = sum(outcome["state"] == "failed" for outcome in list(outcomes.values()))
        return f"{min(jobs, count - len(outcomes) - claimed)} running" + (f", {failed} failed" if failed else "")

    with contextlib.closing(completed), activity("runs", count) as shown:
        shown.position, shown.detail = lambda: len(outcomes), detail
        for index, outcome in completed:
            if outcome["state"] == "stopped" and not signals.received:
                outcome = {"state": "failed", "reason": "the run was stopped by a signal, but the sweep was not"}
            if outcome["state"] == "claimed":
                claimed += 1
            elif outcome["state"] != "stopped":
                outcomes[index] = outcome
                if not options.quiet or outcome["state"] == "failed":
                    options.notice(f"[{len(outcomes)}/{count}] {told(index, outcome)}")
                check(outcome)
    if len(outcomes) + claimed < count:
        signals.check(f": {len(outcomes)} of {count} runs are done; to resume, repeat the command: {options.again}")
    return outcomes


def _require_metric(planned: Sweep, outcome: Mapping[str, Any]) -> None:
    """Stop the sweep if a finished run shows that the metric cannot be compared by; the others would show it, too."""
    name = planned.metric
    if outcome["state"] != "finished" or not name:
        return
    on_dev = f"dev/{name.removeprefix('test/')}"
    if name not in outcome["metrics"]:
        found = ", ".join(outcome["metrics"]) or "no metrics"
        wrong = f"a run gives {found}"
    elif name.startswith("test/") and on_dev in outcome["metrics"]:
        wrong = f'a sweep compares on dev, so that the score on test stays honest; expected "{on_dev}"'
    else:
        return
    raise InputError(
        f"[sweep] metric = {shown_value(name)}: {wrong}. "
        "The sweep stops here; it reuses finished runs once the metric is corrected"
    )


def _outcome_text(name: str, outcome: Mapping[str, Any]) -> str:
    """Return the message about an outcome: `name` is the metric to compare by."""
    if outcome["state"] == "failed":
        run = f"  ({relative(Path(outcome['run']))})" if outcome.get("run") else ""
        return f"failed: {outcome['reason']}{run}"
    if outcome["state"] == "built":
        return "built"
    value = outcome["metrics"].get(name)
    number = f"{name} {shown_number(value)}  " if value is not None else ""
    pruned = f"{outcome['reason']}  " if outcome["state"] == "pruned" else ""
    seconds = f"{outcome['seconds']:.1f} s" if outcome["seconds"] is not None else "no checkpoint"
    return f"{pruned}{number}({seconds}{'' if outcome['how'] == 'run' else ', ' + outcome['how']})"
