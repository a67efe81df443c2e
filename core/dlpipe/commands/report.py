"""``dlpipe report``."""

from __future__ import annotations

from pathlib import Path

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.messages import relative
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target
from dlpipe.runs.folder import RunFolder


@click.command(
    epilog="""\b
Examples:
  dlpipe report runs/cnn-digits/latest
  dlpipe report runs/cnn-digits/latest --markdown      (for a terminal or a pull request)
  dlpipe report runs/cnn-digits/latest --coach         (begins with what dlpipe coach says of each stage)"""
)
@options.run_folder
@click.option("--markdown", is_flag=True, help="Print the summary in Markdown.")
@click.option("--coach", "coached", is_flag=True, help="Begin with what dlpipe coach says of each stage.")
@click.option(
    "--target",
    type=float,
    metavar="SCORE",
    help="With --coach, a score that would be good in the last stage. By default, a perfect one.",
)
@options.local_plugins
@click.pass_context
def report(
    context: click.Context, run: Path, markdown: bool, coached: bool, target: float | None, allow_local_plugins: bool
) -> None:
    """Write the report of RUN, also while it runs: report.html, one file that opens offline, and report.md."""
    folder = RunFolder.open(run)
    if coached:
        registry: Registry = context.obj
        write = load_target("dlpipe.coach.reported:write_report_with_diagnoses")
        path: Path = write(folder, registry, target=target, allow_local_plugins=allow_local_plugins)
    else:
        options.refuse_without_effect(context, ("target", "allow_local_plugins"), "without --coach")
        path = load_target("dlpipe.report.run_report:write_report")(folder)
    if markdown:
        echo(path.with_suffix(".md").read_text(encoding="utf-8"), nl=False)
    else:
        echo(f"{relative(path)}\n{relative(path.with_suffix('.md'))}")
