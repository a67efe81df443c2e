"""``dlpipe runs``."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.live import Live
from rich.table import Table

from dlpipe.commands import options
from dlpipe.commands.table import echo_table, make_console, make_table
from dlpipe.commands.terminal import echo
from dlpipe.errors import DlpipeError, InputError
from dlpipe.json_text import to_json
from dlpipe.messages import counted, relative, shown_seconds, shown_size
from dlpipe.runs.cleanup import REASONS, Removal, removable, remove, size_of
from dlpipe.runs.listing import STATES, RunSummary, summaries

#: Seconds between two looks of --watch.
WATCH_INTERVAL = 2.0
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_STYLES = {"running": "cyan", "failed": "red", "stale": "red", "damaged": "red"}


class Age(click.ParamType[float]):
    """A number with a unit, such as ``30d``; in seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([mhdw])", str(value))
        if not match:
            self.fail(f"{str(value)!r}: expected a number with m, h, d or w, such as 12h or 30d", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


runs_folder = click.option(
    "--runs", default="runs", type=click.Path(path_type=Path), help="The folder of all runs.", show_default=True
)
name = click.option(
    "--name",
    default="*",
    metavar="GLOB",
    help="Only runs of pipelines with this name, or with this NAME/FOLDER, such as 'digits*'.",
)


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  dlpipe runs
  dlpipe runs --name 'digits*' --last 10
  dlpipe runs --failed
  dlpipe runs --watch
  dlpipe runs clean --dry-run""",
)
@runs_folder
@name
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    help="Only runs in this state; can be repeated. stale: its process has died.",
)
@click.option("--failed", is_flag=True, help="Only runs that failed or whose process has died.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@click.option("--watch", is_flag=True, help="Keep showing them until Ctrl-C.")
@options.as_json
@click.pass_context
def runs(
    context: click.Context,
    runs: Path,
    name: str,
    states: tuple[str, ...],
    failed: bool,
    last: int | None,
    watch: bool,
    as_json: bool,
) -> None:
    """List all runs, the newest first, with their state, score and progress."""
    if context.invoked_subcommand:
        given = [key for key in context.params if context.get_parameter_source(key) == ParameterSource.COMMANDLINE]
        if given:
            raise click.UsageError(f"options of 'runs {context.invoked_subcommand}' stand after it, not before it")
        return
    wanted = {*states, *(("failed", "stale") if failed else ())}
    find = lambda: summaries(runs, name, wanted, last)  # noqa: E731
    if watch:
        if as_json or not sys.stdout.isatty():
            found = "--json" if as_json else "standard output is none"
            raise InputError(f"--watch needs a terminal, but {found}; expected dlpipe runs --json, again and again")
        _watch(find)
    elif as_json:
        content = [{**asdict(run), "path": str(run.path)} for run in find()]
        echo(to_json(content, indent=1, ensure_ascii=False))
    elif listed := find():
        echo_table(_table(listed))
    else:
        echo(f"no runs of this kind in {relative(runs)}", err=True)


@runs.command(
    epilog="""\b
Reasons to delete a run:
  fast           it ran with --fast
  no-checkpoint  it ended before its first checkpoint
  superseded     it did not finish, and a later run of the same pipeline did
  leftover       a process was killed while it created or deleted it

\b
Examples:
  dlpipe runs clean --dry-run
  dlpipe runs clean --older-than 30d --yes
  dlpipe runs clean --only fast --only leftover"""
)
@runs_folder
@name
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(REASONS)),
    help="Only what can be deleted for this reason; can be repeated.",
)
@click.option(
    "--older-than", type=Age(), metavar="AGE", help="Only what was last written that long ago, such as 12h or 30d."
)
@click.option("--dry-run", is_flag=True, help="Show what would be deleted; delete nothing.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
def clean(runs: Path, name: str, only: tuple[str, ...], older_than: float | None, dry_run: bool, yes: bool) -> None:
    """Delete runs that nobody needs, after asking.

    Kept are runs at work, the latest run of a pipeline if it has finished, runs that other runs start from, and those
    in the table of a sweep.
    """
    if dry_run and yes:
        raise InputError("--yes and --dry-run exclude each other; expected one of them")
    found = removable(runs, summaries(runs), name, only=only, older_than=older_than)
    if not found:
        echo(f"nothing to delete in {relative(runs)}", err=True)
        return
    echo_table(_proposal(found))
    total = shown_size(size_of([removal.path for removal in found], freed=True))
    echo(f"\n{counted(len(found), 'folder')}; deleting {'it' if len(found) == 1 else 'them'} frees {total}")
    if dry_run:
        return
    if not (yes or (sys.stdin and sys.stdin.isatty())):
        raise InputError("nothing is deleted, as standard input is no terminal to ask on; to delete them, pass --yes")
    if yes or click.confirm("Delete them?", err=True):
        _delete(found)


def _delete(found: list[Removal]) -> None:
    """Delete all that can be deleted.

    Raises:
        DlpipeError: some could not.
    """
    failed = 0
    for removal in found:
        try:
            remove(removal)
        except (DlpipeError, OSError) as error:
            failed += 1
            echo(f"kept: {relative(removal.path)}: {getattr(error, 'strerror', None) or error}", err=True)
    echo(f"{len(found) - failed} deleted", err=True)
    if failed:
        raise DlpipeError(f"{failed} of {counted(len(found), 'folder')} could not be deleted; see above")


def _watch(find: Callable[[], list[RunSummary]]) -> None:
    """Show the runs until the user stops it."""
    with Live(console=make_console(), screen=False, auto_refresh=False) as live:
        while True:
            live.update(_table(find()), refresh=True)
            time.sleep(WATCH_INTERVAL)


def _table(found: list[RunSummary]) -> Table:
    now = time.time()

    def row(run: RunSummary) -> tuple[tuple[str, ...], str | None]:
        state = f"{run.state} (fast)" if run.fast else run.state
        score = "–" if run.score is None else f"{run.metric} {run.score:.4g}"
        age = f"{_short(now - run.started)} ago" if run.started else "–"
        return (run.name, state, score, _progress(run), age, _short(run.seconds)), _STYLES.get(run.state)

    return make_table(("run", "state", "score", "progress", "age", "took"), map(row, found))


def _progress(run: RunSummary) -> str:
    if run.state == "damaged":
        return run.reason
    place = f"{run.stage}: " if run.stage else ""
    total = f"/{run.total_steps}" if run.total_steps else ""
    epoch = f", epoch {run.epoch:.3g}" if run.epoch is not None else ""
    return f"{place}step {run.step}{total}{epoch}"


def _proposal(found: list[Removal]) -> Table:
    now = time.time()

    def row(removal: Removal) -> tuple[tuple[str, ...], None]:
        folder, age = "/".join(removal.path.parts[-2:]), f"{_short(now - removal.updated)} ago"
        state = removal.run.state if removal.run else "–"
        return (folder, shown_size(removal.size), age, state, REASONS[removal.reason]), None

    return make_table(("folder", "size", "written", "state", "why"), map(row, found))


def _short(seconds: float) -> str:
    return f"{seconds / 86400:.3g} d" if seconds >= 2 * 86400 else shown_seconds(round(max(seconds, 0.0), 1) or 0.1)
