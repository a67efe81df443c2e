"""``dlpipe sweep``."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import sys
import time
from collections.abc import Generator, Mapping
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import tomli_w
from rich.console import Console

from dlpipe.commands import options
from dlpipe.commands.slurm import Job, dlpipe_command, given, job_options, submit
from dlpipe.commands.terminal import echo
from dlpipe.config.pipeline import Pipeline
from dlpipe.errors import DlpipeError, InputError, RunFolderError
from dlpipe.launch import launched, usable_cores
from dlpipe.messages import relative
from dlpipe.messages import shown as shown_value
from dlpipe.progress import Activity, Display, activity, displayed_by
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target
from dlpipe.runs.atomic import link
from dlpipe.runs.files import write_json
from dlpipe.runs.folder import new_folder
from dlpipe.runs.signals import StopSignals
from dlpipe.sweep.plan import Sweep, load_sweep
from dlpipe.sweep.table import Row, as_json, markdown, show, shown_metric
from dlpipe.sweep.workers import Task, work


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

    FILE is a pipeline file with a [sweep], or the name of a pipeline that comes with dlpipe. The table and the learning
    curves are stored in runs/NAME/sweeps/.
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
    pipelines = _distinct_pipelines(planned)
    if on:
        command = dlpipe_command("sweep", file, assignments, runs, allow_local_plugins)
        command += [f"--{name}={value}" for name, value in (("seeds", seeds), ("jobs", jobs)) if value]
        job = Job(**given(resources))
        array = tasks or math.ceil(len(pipelines) / (jobs or job.gpus or 1))
        make = partial(job.script, planned.name, command=[*command, "--no-wait"], each_gpu=False, array=array)
        submit(planned.name, runs, print_script, make)
        return
    if (launch := launched()).size > 1:
        raise InputError(
            f"dlpipe sweep starts its own processes, but {launch.size} were started ({launch.by} = {launch.size}), "
            "each of which would do so; start it once, or once in each of several jobs"
        )
    todo = [Task(pipeline, runs, fast, fresh, dry_run, since=time.time()) for pipeline, _ in pipelines.values()]
    _run_here(planned, pipelines, todo, jobs, wait_for_others=not no_wait, print_json=as_json, quiet=quiet)


def _run_here(
    planned: Sweep,
    pipelines: Mapping[str, tuple[Pipeline, str]],
    tasks: list[Task],
    jobs: int | None,
    *,
    wait_for_others: bool,
    print_json: bool,
    quiet: bool,
) -> None:
    """Run all trials on this machine, and write the table.

    Raises:
        DlpipeError: some have failed.
    """
    gpus = _gpus([task.pipeline for task in tasks])
    jobs = min(jobs or len(gpus) or _default_jobs([task.pipeline for task in tasks]), len(tasks))
    several = len(planned.trials[0].pipelines) > 1
    labels = [f"{label}, seed {pipeline.settings.seed}" if several else label for pipeline, label in pipelines.values()]
    if not quiet:
        echo(f"sweep {planned.name}: {len(planned.trials)} trials, {len(tasks)} runs, {jobs} at a time", err=True)
    with StopSignals(lambda message: echo(message.replace("after this step", "of all that runs"), err=True)) as signals:
        completed = work(tasks, jobs, signals, gpus, wait_for_others=wait_for_others)
        with displayed_by(Display(quiet=quiet)), activity("runs", len(tasks)) as shown:
            ended = _run_all(planned, labels, completed, signals, shown, jobs, quiet=quiet)
    if len(ended) < len(tasks):
        echo(
            f"{len(tasks) - len(ended)} of {len(tasks)} runs are in progress in other sweeps; the last of these to end "
            "writes the table",
            err=True,
        )
    else:
        outcomes = {key: ended[index] for index, key in enumerate(pipelines)}
        rows = [Row(trial, tuple(outcomes[_key(pipeline)] for pipeline in trial.pipelines)) for trial in planned.trials]
        if tasks[0].dry:
            built = {row.trial.label: row.outcomes[0].get("built") or row.outcomes[0]["reason"] for row in rows}
            echo(json.dumps(built, indent=1, ensure_ascii=False))
        else:
            _report(planned, rows, tasks[0].runs, tasks[0].fast, print_json)
    if failed := sum(outcome["state"] == "failed" for outcome in ended.values()):
        raise DlpipeError(f"{failed} of {len(tasks)} runs failed; see above")


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
    planned: Sweep,
    labels: list[str],
    completed: Generator[tuple[int, dict[str, Any]]],
    signals: StopSignals,
    shown: Activity,
    jobs: int,
    *,
    quiet: bool,
) -> dict[int, Mapping[str, Any]]:
    """Return the outcomes of all tasks, except those of other sweeps, and print a line for each when it ends.

    Args:
        shown: is kept up to date.
        quiet: print lines for those only that fail.
    """
    outcomes: dict[int, Mapping[str, Any]] = {}
    claimed, count = 0, len(labels)

    def detail() -> str:
        failed = sum(outcome["state"] == "failed" for outcome in list(outcomes.values()))
        return f"{min(jobs, count - len(outcomes) - claimed)} running" + (f", {failed} failed" if failed else "")

    shown.position, shown.detail = lambda: len(outcomes), detail
    with contextlib.closing(completed):
        for index, outcome in completed:
            if outcome["state"] == "stopped" and not signals.received:
                outcome = {"state": "failed", "reason": "the run was stopped by a signal, but the sweep was not"}
            if outcome["state"] == "claimed":
                claimed += 1
            elif outcome["state"] != "stopped":
                outcomes[index] = outcome
                if not quiet or outcome["state"] == "failed":
                    echo(f"[{len(outcomes)}/{count}] {labels[index]}: {_outcome_text(planned, outcome)}", err=True)
                _require_metric(planned, outcome)
    if len(outcomes) + claimed < count:
        signals.check(f": {len(outcomes)} of {count} runs are done; to resume, repeat the command: {_command()}")
    return outcomes


def _require_metric(planned: Sweep, outcome: Mapping[str, Any]) -> None:
    """Stop the sweep if a finished run does not give the metric to compare by; the others would not give it either."""
    if outcome["state"] == "finished" and planned.metric and planned.metric not in outcome["metrics"]:
        found = ", ".join(outcome["metrics"]) or "no metrics"
        raise InputError(
            f"[sweep] metric = {shown_value(planned.metric)}: a run gives {found}. "
            "The sweep stops here; it reuses finished runs once the metric is corrected"
        )


def _outcome_text(planned: Sweep, outcome: Mapping[str, Any]) -> str:
    if outcome["state"] == "failed":
        run = f"  ({relative(Path(outcome['run']))})" if outcome.get("run") else ""
        return f"failed: {outcome['reason']}{run}"
    if outcome["state"] == "built":
        return "built"
    name = shown_metric(planned, [outcome]).name
    value = outcome["metrics"].get(name)
    number = f"{name} {value:.4f}  " if value is not None else ""
    seconds = f"{outcome['seconds']:.1f} s" if outcome["seconds"] is not None else "no checkpoint"
    return f"{number}({seconds}{'' if outcome['how'] == 'run' else ', ' + outcome['how']})"


def _command() -> str:
    return shlex.join(["dlpipe", *sys.argv[1:]])


def _report(planned: Sweep, rows: list[Row], runs: Path, fast: bool, print_json: bool) -> None:
    """Write the table to the folder of the sweep, and print it."""
    metric = shown_metric(planned, [outcome for row in rows for outcome in row.outcomes])
    content = {
        "command": _command(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "dlpipe": metadata.version("dlpipe"),
        "torch": metadata.version("torch"),
        "fast": fast,
        **as_json(planned, rows, metric),
    }
    try:
        folder = new_folder(runs / planned.name / "sweeps")
        title = f"{planned.name}: {len(rows)} trials{' (--fast: only a few steps)' if fast else ''}"
        text = markdown(planned, rows, metric, title)
        (folder / "table.md").write_text(f"{text}\n`{_command()}`\n", encoding="utf-8")
        write_json(folder / "table.json", content)
        drawn = find_spec("matplotlib") and load_target("dlpipe.sweep.curves:draw_curves")(
            folder / "curves.png", rows, metric
        )
        link(folder.parent / "latest", folder.name)
    except OSError as error:
        raise RunFolderError(f"{relative(runs / planned.name)} cannot be written: {error.strerror}") from error
    if print_json:
        echo(json.dumps(content, indent=1, ensure_ascii=False))
        return
    echo(err=True)
    show(Console(highlight=False), planned, rows, metric)
    echo(f"\n{relative(folder)}/table.md, table.json{', curves.png' if drawn else ''}", err=True)
