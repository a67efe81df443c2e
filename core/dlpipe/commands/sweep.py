"""``dlpipe sweep``."""

from __future__ import annotations

import math
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from dlpipe.commands import options
from dlpipe.commands.slurm import Job, dlpipe_command, given, job_options, submit
from dlpipe.commands.terminal import echo
from dlpipe.config.check import load_pipeline
from dlpipe.errors import DlpipeError, InputError
from dlpipe.json_text import to_json
from dlpipe.messages import relative, shell_path
from dlpipe.progress import Display, displayed_by
from dlpipe.registry.loading import Registry
from dlpipe.sweep.best import BEST
from dlpipe.sweep.execution import Options, Result, distinct_pipelines, require_runnable, run_sweep
from dlpipe.sweep.plan import load_sweep
from dlpipe.sweep.results import Output, Written
from dlpipe.sweep.table import show


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
@click.option(
    "--seeds", type=click.IntRange(min=1), help="Seeds per trial, or per choice in average_over; overrides the file."
)
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
    require_runnable(planned, budget=budget, dry=dry_run)
    if on:
        runs_of_all = (
            planned.search.trials * len(planned.trials[0].pipelines)
            if planned.search
            else len(distinct_pipelines(planned))
        )
        command = dlpipe_command("sweep", file, assignments, runs, allow_local_plugins)
        passed_on = {"seeds": seeds, "jobs": jobs, "budget": None if budget is None else f"{budget:g}s"}
        command += [f"--{name}={value}" for name, value in passed_on.items() if value]
        job = Job(**given(resources))
        array = tasks or math.ceil(runs_of_all / (jobs or job.gpus or 1))
        make = partial(job.script, planned.name, command=[*command, "--no-wait"], each_gpu=False, array=array)
        submit(planned.name, runs, print_script, make)
        return
    notice = partial(echo, err=True)
    how = Options(
        jobs=jobs,
        wait=not no_wait,
        budget=budget,
        dry=dry_run,
        fast=fast,
        fresh=fresh,
        quiet=quiet,
        again=command_line(),
        notice=notice,
    )
    with displayed_by(Display(quiet=quiet)):
        result = run_sweep(planned, runs, how)
    if dry_run:
        built = {row.trial.label: row.outcomes[0].get("built") or row.outcomes[0]["reason"] for row in result.rows}
        echo(to_json(built, indent=1, ensure_ascii=False))
    elif result.rows:
        load = partial(load_pipeline, registry=registry, allow_local_plugins=allow_local_plugins)
        written = Output(runs, load, command_line(), file, assignments, fast=fast).write(result)
        if as_json:
            echo(to_json(written.content, indent=1, ensure_ascii=False))
        else:
            _show(result, written)
    if result.failed:
        raise DlpipeError(f"{result.failed} of {result.total} runs failed; see above")


def command_line() -> str:
    """Return the command that was given."""
    return shlex.join(["dlpipe", *sys.argv[1:]])


def _show(result: Result, written: Written) -> None:
    """Print the table, and where everything is."""
    echo(err=True)
    show(Console(highlight=False), result.sweep, result.rows, result.metric)
    for line in written.lines:
        echo(line)
    echo(f"\n{relative(written.folder)}/{', '.join(written.names)}", err=True)
    if BEST in written.names:
        echo(f"the best trial again, or with more steps:  dlpipe run {shell_path(written.folder / BEST)}", err=True)
