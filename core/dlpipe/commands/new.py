"""``dlpipe new``."""

from __future__ import annotations

from pathlib import Path

import click

from dlpipe.commands.terminal import echo
from dlpipe.config.shipped import copy_shipped
from dlpipe.messages import relative


@click.group()
def new() -> None:
    """Create a file to start from."""


@new.command(
    short_help="Copy a pipeline that comes with dlpipe.",
    epilog="""\b
Examples:
  dlpipe list pipelines
  dlpipe new pipeline slot_filling
  dlpipe new pipeline recipe/depth --output experiments/depth.toml""",
)
@click.argument("name")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The new file, or a folder for it. By default, a file of the same name in the current folder.",
)
def pipeline(name: str, output: Path | None) -> None:
    """Copy the pipeline NAME, one of those that come with dlpipe, to a file of your own.

    Files that the pipeline extends and plugins that it brings along are copied to the same folder. Existing files are
    never overwritten.
    """
    file, *needed = copy_shipped(name, output)
    echo(relative(file))
    for path in needed:
        echo(f"{relative(path)}  (needed by {file.name})")
    echo(f"\nEdit it, then:  dlpipe run {relative(file)}", err=True)
