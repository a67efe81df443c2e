"""``dlpipe coach``."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.errors import InputError
from dlpipe.json_text import to_json
from dlpipe.messages import display_width, padded, relative
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target
from dlpipe.runs.atomic import require_new

#: Columns of the text.
WIDTH = 100


@click.command(
    epilog="""\b
Examples:
  dlpipe coach runs/mine/latest
  dlpipe coach runs/mine/latest --target 0.9         (0.9 would be good, so what is between this and 1 is no fault)
  dlpipe coach runs/mine/latest --sweep try.toml     (then: dlpipe sweep try.toml --seeds 3)"""
)
@options.run_folder
@options.stage
@click.option("--target", type=float, metavar="SCORE", help="A score that would be good. By default, a perfect one.")
@click.option(
    "--examples",
    default=1000,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many examples of a split to judge.",
)
@click.option(
    "--steps",
    default=10,
    show_default=True,
    type=click.IntRange(min=1),
    help="Training steps in which the model is watched.",
)
@click.option(
    "--sweep",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.toml",
    help="Write a pipeline with a [sweep] that tries each remedy.",
)
@options.local_plugins
@options.as_json
@click.pass_obj
def coach(
    registry: Registry,
    run: Path,
    stage: str | None,
    target: float | None,
    examples: int,
    steps: int,
    sweep: Path | None,
    allow_local_plugins: bool,
    as_json: bool,
) -> None:
    """Say what is wrong with the training of RUN, and what to try.

    RUN is a run folder, such as runs/mine/latest, or the name of a pipeline, which stands for its latest run in runs/.
    Looks at the metrics of the run, at its scores on training examples and on others, and at gradients, units and
    inputs in some steps before training and after it, which change nothing.
    """
    if sweep:
        require_new(sweep, "--sweep")
    found = load_target("dlpipe.coach.diagnosis:coach")(
        run,
        registry,
        stage=stage,
        target=target,
        examples=examples,
        steps=steps,
        allow_local_plugins=allow_local_plugins,
    )
    if as_json:
        echo(to_json(found.plain(), indent=1))
    else:
        _show(found)
    if sweep:
        _write(sweep, found)


def _write(path: Path, found: Any) -> None:
    if not found.remedies:
        echo(f"{relative(path)} is not written: there is nothing to try", err=True)
        return
    text: str = load_target("dlpipe.coach.experiments:sweep_text")(found, path)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{relative(path)} cannot be written: {error.strerror}; choose another file") from error
    echo(f"to try all of them:  {load_target('dlpipe.coach.experiments:sweep_command')(found, path)}", err=True)


def _show(found: Any) -> None:
    stage = f", stage {found.stage}" if found.stage else ""
    echo(f"{relative(found.run)}{stage}: {found.title}")
    if found.scores:
        echo(f"  {found.scores.metric}: {found.scores.words()}")
    echo(f"  verdict: {found.answer}")
    for note in found.notes:
        echo(f"  note: {note}")
    for number, finding in enumerate(found.findings, start=1):
        echo(f"\n{number}. {finding.title} [{finding.rule}]")
        for label, text in (("found", finding.evidence), ("why", finding.reason)):
            echo(textwrap.fill(f"{label}: {text}", WIDTH, initial_indent="   ", subsequent_indent="     "))
        width = max((display_width(remedy.name) for remedy in finding.remedies), default=0)
        for remedy in finding.remedies:
            echo(f"   try {padded(remedy.name, width)}  {found.options(remedy)}")
    if not found.findings:
        echo(f"\n{load_target('dlpipe.coach.diagnosis:NOTHING')}")
