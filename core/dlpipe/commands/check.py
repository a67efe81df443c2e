"""``dlpipe check``."""

from __future__ import annotations

from pathlib import Path

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.config.source import read_source
from dlpipe.errors import PipelineError
from dlpipe.json_text import to_json
from dlpipe.registry.loading import Registry
from dlpipe.sweep.plan import check_all


@click.command(
    epilog="""\b
Examples:
  dlpipe check mine.toml
  dlpipe check mine.toml --set model.cell=gru --json"""
)
@options.pipeline_file
@options.assignments
@options.local_plugins
@options.as_json
@click.pass_obj
def check(
    registry: Registry, file: Path, assignments: tuple[str, ...], allow_local_plugins: bool, as_json: bool
) -> None:
    """Report all mistakes of a pipeline without running it.

    FILE is a pipeline file, or the name of a pipeline that comes with dlpipe. All trials of its [sweep] are checked
    too.
    """
    try:
        checked = check_all(read_source(file, assignments), registry, allow_local_plugins=allow_local_plugins)
    except PipelineError as error:
        if not as_json:
            raise
        problems = [vars(problem) for problem in error.problems]
        echo(to_json({"ok": False, "problems": problems, "warnings": []}))
        click.get_current_context().exit(error.exit_code)
    if as_json:
        echo(to_json({"ok": True, "problems": [], "warnings": checked.warnings}))
        return
    for warning in checked.warnings:
        echo(f"warning: {warning}", err=True)
    echo(f"{file}: no mistakes")
