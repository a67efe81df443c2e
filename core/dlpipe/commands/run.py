"""``dlpipe run``."""

from __future__ import annotations

from pathlib import Path

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.config.check import load_pipeline
from dlpipe.json_text import to_json
from dlpipe.launch import launched
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target
from dlpipe.spinning import limit_spinning

#: Options that a dry run has no use for.
OF_WHOLE_RUNS = ("fast", "resume_mode", "no_rehearsal", "accept_changes", "fresh", "explain", "profile")


@click.command(
    epilog="""\b
Examples:
  dlpipe run slot_filling                                 (a pipeline that comes with dlpipe)
  dlpipe run mine.toml --set trainer.epochs=3 --set model.cell=gru
  dlpipe run mine.toml --dry-run
  dlpipe run mine.toml --resume auto                      (in a batch job that may be stopped)"""
)
@options.pipeline_file
@options.assignments
@options.runs
@click.option(
    "--dry-run", is_flag=True, help="Try everything in small: one step, one batch, one checkpoint; keep nothing."
)
@click.option("--fast", is_flag=True, help="Train and evaluate for a few steps only, to see that everything works.")
@click.option(
    "--resume",
    "resume_mode",
    type=click.Choice(["auto", "never"]),
    default="never",
    show_default=True,
    help="auto: resume the latest unfinished run of the same pipeline, if there is one. For batch jobs.",
)
@click.option("--no-rehearsal", is_flag=True, help="Do not try everything in small before the first step.")
@options.accept_changes
@click.option("--fresh", is_flag=True, help="Run every stage, even if its inputs have not changed since the last run.")
@click.option("--explain", is_flag=True, help="Say for each stage why it is run or reused.")
@options.profile
@options.quiet
@options.local_plugins
@options.as_json
@click.pass_context
def run(
    context: click.Context,
    file: Path,
    assignments: tuple[str, ...],
    runs: Path,
    dry_run: bool,
    fast: bool,
    resume_mode: str,
    no_rehearsal: bool,
    accept_changes: bool,
    fresh: bool,
    explain: bool,
    profile: bool,
    quiet: bool,
    allow_local_plugins: bool,
    as_json: bool,
) -> None:
    """Train and evaluate a pipeline.

    FILE is a pipeline file, or the name of a pipeline that comes with dlpipe. Metrics, checkpoints and figures are
    stored in a new folder in runs/.
    """
    registry: Registry = context.obj
    if dry_run:
        options.refuse_without_effect(context, OF_WHOLE_RUNS, "with --dry-run")
    if resume_mode == "auto":
        options.refuse_without_effect(context, ("fast", "fresh"), "on a run that is resumed, as by --resume auto")
    else:
        options.refuse_without_effect(context, ("accept_changes",), "without --resume auto")
    pipeline = load_pipeline(file, registry, assignments, allow_local_plugins=allow_local_plugins)
    if not quiet:
        options.mention_sweep(pipeline, file, "run is")
    limit_spinning(pipeline.settings.threads)
    if dry_run:
        built = load_target("dlpipe.engine.execute:dry_run")(pipeline)
        if launched().rank == 0:
            echo(to_json(built, indent=1))
        return
    chosen = {
        "fast": fast,
        "fresh": fresh,
        "rehearsal": not no_rehearsal,
        "explain": explain,
        "profile": profile,
        "quiet": quiet,
    }
    if resume_mode == "auto":
        begin = load_target("dlpipe.engine.execute:run_or_resume")
        folder = begin(pipeline, registry, runs, accept_changes=accept_changes, **chosen)
    else:
        folder = load_target("dlpipe.engine.execute:run")(pipeline, registry, runs, **chosen)
    if not folder.writes:  # one of several processes, the first of which speaks
        return
    if as_json:
        options.echo_outcome(folder)
    elif not quiet:
        options.mention_results(folder)
