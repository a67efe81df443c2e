"""``dlpipe doctor``."""

from __future__ import annotations

from pathlib import Path

import click

from dlpipe.commands import options
from dlpipe.commands.diagnosis import Finding, diagnose, diagnose_pipeline
from dlpipe.commands.terminal import echo
from dlpipe.errors import PluginError
from dlpipe.json_text import to_json
from dlpipe.registry.loading import Registry

MARKS = {"ok": " ", "note": "-", "problem": "!"}


@click.command(
    epilog="""\b
Examples:
  dlpipe doctor
  dlpipe doctor mine.toml
  dlpipe doctor --json > doctor.json      (for a bug report)"""
)
@click.argument("pipeline", type=options.PipelineFile(), required=False)
@options.runs
@options.local_plugins
@options.as_json
@click.pass_obj
def doctor(registry: Registry, pipeline: Path | None, runs: Path, allow_local_plugins: bool, as_json: bool) -> None:
    """Examine the installation: Python, devices, versions, folders, fonts and plugins; and whether PIPELINE can run.

    Everything that is not as it should be comes with the next step: "!" is a problem, "-" a limitation. Exits with 3
    if there is a problem.
    """
    findings = [*diagnose(registry, runs)]
    if pipeline is not None:
        findings += diagnose_pipeline(registry, pipeline, allow_local_plugins=allow_local_plugins)
    if as_json:
        echo(to_json([vars(finding) for finding in findings], indent=1))
    else:
        _show(findings)
    if count := sum(finding.status == "problem" for finding in findings):
        raise PluginError(f"{count} problem{'s' if count > 1 else ''}")


def _show(findings: list[Finding]) -> None:
    area = ""
    for finding in findings:
        if finding.area != area:
            area = finding.area
            echo(area, bold=True)
        echo(f"{MARKS[finding.status]} {finding.text}")
        if finding.advice:
            echo(f"    {finding.advice}")
