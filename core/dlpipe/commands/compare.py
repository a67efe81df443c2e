"""``dlpipe compare``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.errors import InputError, RunFolderError
from dlpipe.json_text import to_json
from dlpipe.messages import relative
from dlpipe.registry.installation import install_command
from dlpipe.registry.targets import load_target


@click.command(
    epilog="""\b
Examples:
  dlpipe compare runs/cnn-digits/latest runs/logistic-digits/latest
  dlpipe compare "runs/recipe-*/*" --html comparison.html
  dlpipe compare cnn-digits --last 5
  dlpipe compare --last 2 --json"""
)
@click.argument("names", metavar="[RUN]...", nargs=-1)
@click.option("--last", type=click.IntRange(min=2), metavar="N", help="Compare the newest N runs of these, or of all.")
@click.option("--metric", default="", help="Metric to compare by. By default, the one that the first run is judged by.")
@click.option(
    "--runs",
    default="runs",
    type=click.Path(path_type=Path),
    help="Look up names of pipelines in this folder.",
    show_default=True,
)
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the curves of all runs.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page that opens offline.")
@options.as_json
def compare(
    names: tuple[str, ...],
    last: int | None,
    metric: str,
    runs: Path,
    figure: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Say what differs between runs, and whether their scores differ by more than noise.

    RUN is a run folder, a pattern such as "runs/cnn-digits/*", or the name of a pipeline, which stands for its latest
    run. The first one is compared with each of the others; runs that differ only in the seed are compared as a group.
    """
    found: Any = load_target("dlpipe.comparison.compare:compare_folders")(names, runs, last=last, metric=metric)
    for path, write, needed in ((figure, "draw_curves", ["matplotlib"]), (html, "write_page", ["jinja2", "bokeh"])):
        if path:
            _write(path, write, needed, found)
    if as_json:
        echo(to_json(found.plain(), indent=1, ensure_ascii=False))
    else:
        load_target("dlpipe.comparison.table:show")(Console(highlight=False), found)


def _write(path: Path, write: str, needed: list[str], found: Any) -> None:
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        install = install_command("dlpipe[report]")
        raise InputError(f"{path} needs {' and '.join(missing)}; install with: {install}")
    try:
        if load_target(f"dlpipe.comparison.page:{write}")(path, found) is not False:
            echo(relative(path), err=True)
        else:
            echo(f"{relative(path)} is not written: no run has a curve of the metric", err=True)
    except OSError as error:
        raise RunFolderError(f"{relative(path)} cannot be written: {error.strerror}") from error
