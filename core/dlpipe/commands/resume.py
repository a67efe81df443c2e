"""``dlpipe resume``."""

from __future__ import annotations

from pathlib import Path

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.config.changeable import later_ends
from dlpipe.launch import launched
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target
from dlpipe.runs.folder import ENDED_STATES, RunFolder
from dlpipe.spinning import limit_spinning


@click.command(
    epilog="""\b
Examples:
  dlpipe resume runs/slot-filling/latest
  dlpipe resume runs/slot-filling/latest --set trainer.epochs=40 --set trainer.optimizer.lr=1e-4"""
)
@options.run_folder
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="PATH=VALUE",
    help="Continue with another value, such as trainer.epochs=40, also if the run is finished. Can be repeated.",
)
@options.accept_changes
@click.option(
    "--from-start",
    is_flag=True,
    help="If no checkpoint can be used, start at step 0 and discard the metrics. By default, that is an error.",
)
@options.profile
@options.quiet
@options.local_plugins
@options.as_json
@click.pass_context
def resume(
    context: click.Context,
    run: Path,
    assignments: tuple[str, ...],
    accept_changes: bool,
    from_start: bool,
    profile: bool,
    quiet: bool,
    allow_local_plugins: bool,
    as_json: bool,
) -> None:
    """Resume RUN from its last checkpoint.

    The result is the same as if the run had never been interrupted. If something that decides it has changed since
    the run began, the command says what, and stops. With --set, the run continues with other settings; what changed
    after which step is recorded in its folder and its report.
    """
    registry: Registry = context.obj
    folder, first = RunFolder.open(run), launched().rank == 0  # of several processes, the first speaks
    tables = folder.resolved()
    if (status := folder.status())["state"] in ENDED_STATES and not assignments:
        ended = "finished" if status["state"] == "finished" else status["reason"]
        of_training = ("accept_changes", "from_start", "profile")
        options.refuse_without_effect(context, of_training, f"on {run}, which is {ended}")
        more = "".join(f" --set {end}" for end in later_ends(tables, registry))
        echo(f"{run} is {ended}; to train longer: {folder.command('resume')}{more}", err=True)
        if as_json and first:
            options.echo_outcome(folder)
        return
    limit_spinning(tables.get("threads"))
    load_target("dlpipe.engine.execute:resume")(
        folder,
        registry,
        assignments,
        allow_local_plugins=allow_local_plugins,
        accept_changes=accept_changes,
        from_start=from_start,
        profile=profile,
        quiet=quiet,
    )
    if as_json and first:
        options.echo_outcome(folder)
    elif not quiet and first:
        options.mention_results(folder)
