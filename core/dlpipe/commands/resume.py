"""``dlpipe resume``."""

from __future__ import annotations

from pathlib import Path

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target
from dlpipe.runs.folder import RunFolder


@click.command(
    epilog="""\b
Examples:
  dlpipe resume runs/slot-filling/latest"""
)
@options.run_folder
@options.accept_changes
@click.option(
    "--from-start",
    is_flag=True,
    help="If no checkpoint can be used, start at step 0 and discard the metrics. By default, that is an error.",
)
@options.profile
@options.quiet
@options.local_plugins
@click.pass_obj
def resume(
    registry: Registry,
    run: Path,
    accept_changes: bool,
    from_start: bool,
    profile: bool,
    quiet: bool,
    allow_local_plugins: bool,
) -> None:
    """Resume RUN from its last checkpoint.

    The result is the same as if the run had never been interrupted. If something that decides it has changed since
    the run began, the command says what, and stops.
    """
    folder = RunFolder.open(run)
    if (status := folder.status())["state"] in ("finished", "pruned"):
        ended = "finished" if status["state"] == "finished" else status["reason"]
        echo(f"{run} is {ended}; there is nothing to resume", err=True)
        return
    load_target("dlpipe.engine.execute:resume")(
        folder,
        registry,
        allow_local_plugins=allow_local_plugins,
        accept_changes=accept_changes,
        from_start=from_start,
        profile=profile,
        quiet=quiet,
    )
