"""``dlpipe report``."""

from __future__ import annotations

from pathlib import Path

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.messages import relative
from dlpipe.registry.targets import load_target
from dlpipe.runs.folder import RunFolder


@click.command(
    epilog="""\b
Examples:
  dlpipe report runs/cnn-digits/latest
  dlpipe report runs/cnn-digits/latest --markdown      (for a terminal or a pull request)"""
)
@options.run_folder
@click.option("--markdown", is_flag=True, help="Print the summary in Markdown.")
def report(run: Path, markdown: bool) -> None:
    """Write the report of RUN, also while it runs: report.html, one file that opens offline, and report.md."""
    path: Path = load_target("dlpipe.report.run_report:write_report")(RunFolder.open(run))
    if markdown:
        echo(path.with_suffix(".md").read_text(encoding="utf-8"), nl=False)
    else:
        echo(f"{relative(path)}\n{relative(path.with_suffix('.md'))}")
