"""``dlpipe sweep``."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import tomli_w

from dlpipe.commands import options
from dlpipe.commands.slurm import Job, dlpipe_command, given, job_options, submit
from dlpipe.commands.sweep_output import Output, command_line
from dlpipe.commands.terminal import echo
from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Pipeline
from dlpipe.errors import DlpipeError, InputError
from dlpipe.launch import launched, usable_cores
from dlpipe.messages import relative
from dlpipe.messages import shown as shown_value
from dlpipe.progress import Display, activity, displayed_by
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target
from dlpipe.runs.signals import StopSignals
from dlpipe.sweep.plan import Sweep, load_sweep
from dlpipe.sweep.searching import Searching, require_optuna
from dlpipe.sweep.table import Row, shown_metric
from dlpipe.sweep.workers import Task, work


class _Budget(click.ParamType[float]):
    """A time such as ``30m``, in seconds."""

    name = "time"
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # noqa: RUF012

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the seconds."""
        number, unit = str(value)[:-1], str(value)[-1:]
        try:
            seconds = float(number) * self.units[unit]
        except (KeyError, ValueError):
            seconds = math.nan
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r}: expected a time above 0 such as 90s, 30m, 2h or 1d", param, ctx)
        return seconds


BUDGET = _Budget()


@click.command(
    epilog="""\b
Examples:
  dlpipe sweep recipe/depth
  dlpipe sweep recipe/depth --seeds 5 --jobs 4
  dlpipe sweep mine.toml --set trainer.steps=100 --json
  dlpipe sweep mine.toml --on slurm --gpus 1 --time 2:00:00
  dlpipe sweep cnn_digits --seeds 3                (without a [sweep]: the pipeline with 3 seeds)
To continue a sweep that was stopped, repeat the command: finished runs with the same configuration are
reused, and interrupted ones are resumed."""
)
@options.pipeline_file
@options.assignments
@click.option("--seeds", type=click.IntRange(min=1), help="Runs per trial; overrides the file.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Runs at the same time, each on one GPU if there are any. By default, as many as there are GPUs; on the CPU, "
    "as many as there are cores for if the pipeline sets `threads`, else 1.",
)
@options.runs
@click.option("--no-wait", is_flag=True, help="Leave out the trials that other sweeps of the pipeline are at work on.")
@click.option(
    "--on",
    type=click.Choice(["slurm"]),
    help="Run the trials in an array of jobs, each of which takes the next one. By default, they run here.",
)
@click.option(
    "--tasks",
    type=click.IntRange(min=1),
    help="Tasks of the array. By default, as many as it takes to run all at once.",
)
@job_options
@click.option(
    "--budget",
    type=BUDGET,
    metavar="TIME",
    help="For a search: start no trial after this time, such as 30m, 2h or 90s; those that run are finished.",
)
@click.option("--dry-run", is_flag=True, help="Build every trial and train on one batch; store nothing.")
@click.option("--fast", is_flag=True, help="Train and evaluate for a few steps only, to see that everything works.")
@click.option("--fresh", is_flag=True, help="Run every trial from the start; reuse and resume nothing.")
@options.quiet
@options.local_plugins
@options.as_json
@click.pass_obj
def sweep(
    registry: Registry,
    /,
    file: Path,
    assignments: tuple[str, ...],
    seeds: int | None,
    jobs: int | None,
    runs: Path,
    no_wait: bool,
    on: str | None,
    tasks: int | None,
    budget: float | None,
    dry_run: bool,
    fast: bool,
    fresh: bool,
    quiet: bool,
    allow_local_plugins: bool,
    as_json: bool,
    print_script: bool,
    **resources: Any,
) -> None:
    """Run all trials of a pipeline and compare them in a table.

    FILE is a pipeline file with a [sweep], or the name of a pipeline that comes with dlpipe. The table, figures and the
    best pipeline are stored in runs/NAME/sweeps/. With [sweep.search], trials are proposed by a search.
    """
    slurm = given(resources | {"tasks": tasks, "print": print_script})
    here = given(
        {"dry-run": dry_run, "fast": fast, "fresh": fresh, "json": as_json, "no-wait": no_wait, "quiet": quiet}
    )
    if found := slurm if not on else here:
        where = "--on slurm" if not on else "a sweep that runs here, without --on"
        raise InputError(f"--{next(iter(found))} is for {where}")
    planned = load_sweep(
        file, registry, assignments, seeds=1 if dry_run else seeds, allow_local_plugins=allow_local_plugins
    )
    if budget is not None and not planned.search:
        raise InputError("--budget is for a search; add [sweep.search], or leave it out: a grid has its trials")
    if planned.search and not dry_run:
        require_optuna()
    pipelines = _distinct_pipelines(planned)
    if on:
        runs_of_all = planned.search.trials * len(planned.trials[0].pipelines) if planned.search else len(pipelines)
        command = dlpipe_command("sweep", file, assignments, runs, allow_local_plugins)
        passed_on = {"seeds": seeds, "jobs": jobs, "budget": None if budget is None else f"{budget:g}s"}
        command += [f"--{name}={value}" for name, value in passed_on.items() if value]
        job = Job(**given(resources))
        array = tasks or math.ceil(runs_of_all / (jobs or job.gpus or 1))
        make = partial(job.script, planned.name, command=[*command, "--no-wait"], each_gpu=False, array=array)
        submit(planned.name, runs, print_script, make)
        return
    if (launch := launched()).size > 1:
        raise InputError(
            f"dlpipe sweep starts its own processes, but {launch.size} were started ({launch.by} = {launch.size}), "
            "each of which would do so; start it once, or once in each of several jobs"
        )
    todo = [Task(pipeline, runs, fast, fresh, dry_run, since=time.time()) for pipeline, _ in pipelines.values()]
    load = partial(load_pipeline, registry=registry, allow_local_plugins=allow_local_plugins)
    output = Output(planned, file, assignments, runs, load, fast=fast, print_json=as_json, quiet=quiet)
    if planned.search and not dry_run:
        assert planned.base
        task = replace(todo[0], pipeline=planned.base)
        _search(Searching(planned, task, budget), _jobs(todo, jobs), output, wait_for_others=not no_wait)
    else:
        _run_here(planned, pipelines, todo, _jobs(todo, jobs), output, wait_for_others=not no_wait)


def _run_here(
    planned: Sweep,
    pipelines: Mapping[str, tuple[Pipeline, str]],
    tasks: list[Task],
    jobs: tuple[int, list[str]],
    output: Output,
    *,
    wait_for_others: bool,
) -> None:
    """Run all trials on this machine, and write the table.

    Raises:
        DlpipeError: some have failed.
    """
    number, gpus = min(jobs[0], len(tasks)), jobs[1]
    several = len(planned.trials[0].pipelines) > 1
    labels = [f"{label}, seed {pipeline.settings.seed}" if several else label for pipeline, label in pipelines.values()]
    if not output.quiet:
        echo(f"sweep {planned.name}: {len(planned.trials)} trials, {len(tasks)} runs, {number} at a time", err=True)

    def told(index: int, outcome: Mapping[str, Any]) -> str:
        name = shown_metric(planned, [outcome]).name if outcome["state"] == "finished" else ""
        return f"{labels[index]}: {_outcome_text(name, outcome)}"

    with _stop_signals() as signals:
        completed = work(tasks, number, signals, gpus, wait_for_others=wait_for_others)
        check = partial(_require_metric, planned)
        ended = _run_all(len(tasks), told, completed, signals, check, number, quiet=output.quiet)
    if len(ended) < len(tasks):
        _mention_others(len(tasks) - len(ended), len(tasks))
    else:
        outcomes = {key: ended[index] for index, key in enumerate(pipelines)}
        rows = [Row(trial, tuple(outcomes[_key(pipeline)] for pipeline in trial.pipelines)) for trial in planned.trials]
        if tasks[0].dry:
            built = {row.trial.label: row.outcomes[0].get("built") or row.outcomes[0]["reason"] for row in rows}
            echo(json.dumps(built, indent=1, ensure_ascii=False))
        else:
            metric = shown_metric(planned, [outcome for row in rows for outcome in row.outcomes])
            output.report(planned, rows, metric)
    _raise_failures(ended, len(tasks))


def _search(searching: Searching, jobs: tuple[int, list[str]], output: Output, *, wait_for_others: bool) -> None:
    """Run trials of a search on this machine until there are enough, and write the table.

    Raises:
        DlpipeError: some have failed.
    """
    number, gpus, search = min(jobs[0], searching.total), jobs[1], searching.search
    if not output.quiet:
        name = output.planned.name
        echo(f"sweep {name}: {search.method} search, {search.trials} trials in all, {number} at a time", err=True)

    def told(index: int, outcome: Mapping[str, Any]) -> str:
        return f"{searching.label(index)}: {_outcome_text(searching.metric.name, outcome)}"

    with (
        _stop_signals() as signals,
        contextlib.closing(work(searching.tasks(), number, signals, gpus, wait_for_others=wait_for_others)) as worked,
    ):
        completed = ((index, outcome) for index, outcome in worked if searching.completed(index, outcome))
        ended = _run_all(searching.total, told, completed, signals, lambda _: None, number, quiet=output.quiet)
    if searching.ended_early:
        echo(f"{searching.ended_early}: {len(searching.rows())} of {search.trials} trials were run", err=True)
    elif len(ended) < searching.total:
        _mention_others(searching.total - len(ended), searching.total)
    if searching.rows() and (searching.ended_early or len(ended) == searching.total):
        output.report(searching.result(), searching.rows(), searching.metric)
    _raise_failures(ended, searching.total)


def _stop_signals() -> StopSignals:
    return StopSignals(lambda message: echo(message.replace("after this step", "of all that runs"), err=True))


def _mention_others(count: int, total: int) -> None:
    echo(
        f"{count} of {total} runs are in progress in other sweeps; the last of these to end writes the table", err=True
    )


def _raise_failures(ended: Mapping[int, Mapping[str, Any]], total: int) -> None:
    if failed := sum(outcome["state"] == "failed" for outcome in ended.values()):
        raise DlpipeError(f"{failed} of {total} runs failed; see above")


def _jobs(tasks: list[Task], jobs: int | None) -> tuple[int, list[str]]:
    """Return how many runs to execute at a time, and the GPUs to share out."""
    pipelines = [task.pipeline for task in tasks]
    gpus = _gpus(pipelines)
    return jobs or len(gpus) or _default_jobs(pipelines), gpus


def _key(pipeline: Pipeline) -> str:
    return tomli_w.dumps(pipeline.plain())


def _distinct_pipelines(planned: Sweep) -> dict[str, tuple[Pipeline, str]]:
    """Return the pipelines to run, by content; trials with the same content share one."""
    found: dict[str, tuple[Pipeline, str]] = {}
    for trial in planned.trials:
        for pipeline in trial.pipelines:
            found.setdefault(_key(pipeline), (pipeline, trial.label))
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
    *,
    quiet: bool,
) -> dict[int, Mapping[str, Any]]:
    """Return the outcomes of all tasks, except those of other sweeps, and print a line for each when it ends.

    Args:
        told: returns what is printed of an outcome, given its index.
        check: raises if the other tasks are in vain.
        quiet: print lines for those only that fail.
    """
    outcomes: dict[int, Mapping[str, Any]] = {}
    claimed = 0

    def detail() -> str:
        failed = sum(outcome["state"] == "failed" for outcome in list(outcomes.values()))
        return f"{min(jobs, count - len(outcomes) - claimed)} running" + (f", {failed} failed" if failed else "")

    with contextlib.closing(completed), displayed_by(Display(quiet=quiet)), activity("runs", count) as shown:
        shown.position, shown.detail = lambda: len(outcomes), detail
        for index, outcome in completed:
            if outcome["state"] == "stopped" and not signals.received:
                outcome = {"state": "failed", "reason": "the run was stopped by a signal, but the sweep was not"}
            if outcome["state"] == "claimed":
                claimed += 1
            elif outcome["state"] != "stopped":
                outcomes[index] = outcome
                if not quiet or outcome["state"] == "failed":
                    echo(f"[{len(outcomes)}/{count}] {told(index, outcome)}", err=True)
                check(outcome)
    if len(outcomes) + claimed < count:
        signals.check(f": {len(outcomes)} of {count} runs are done; to resume, repeat the command: {command_line()}")
    return outcomes


def _require_metric(planned: Sweep, outcome: Mapping[str, Any]) -> None:
    """Stop the sweep if a finished run does not give the metric to compare by; the others would not give it either."""
    if outcome["state"] == "finished" and planned.metric and planned.metric not in outcome["metrics"]:
        found = ", ".join(outcome["metrics"]) or "no metrics"
        raise InputError(
            f"[sweep] metric = {shown_value(planned.metric)}: a run gives {found}. "
            "The sweep stops here; it reuses finished runs once the metric is corrected"
        )


def _outcome_text(name: str, outcome: Mapping[str, Any]) -> str:
    """Return what is printed of an outcome: `name` is the metric to compare by."""
    if outcome["state"] == "failed":
        run = f"  ({relative(Path(outcome['run']))})" if outcome.get("run") else ""
        return f"failed: {outcome['reason']}{run}"
    if outcome["state"] == "built":
        return "built"
    value = outcome["metrics"].get(name)
    number = f"{name} {value:.4f}  " if value is not None else ""
    pruned = f"{outcome['reason']}  " if outcome["state"] == "pruned" else ""
    seconds = f"{outcome['seconds']:.1f} s" if outcome["seconds"] is not None else "no checkpoint"
    return f"{pruned}{number}({seconds}{'' if outcome['how'] == 'run' else ', ' + outcome['how']})"
