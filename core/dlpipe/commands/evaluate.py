"""``dlpipe evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.json_text import to_json
from dlpipe.messages import display_width, padded, shown_number
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target


@click.command(
    epilog="""\b
Examples:
  dlpipe evaluate runs/slot-filling/latest --split test --json
  dlpipe evaluate runs/mine/latest --set data.test=new_sentences.iob"""
)
@options.run_folder
@click.option("--split", default="test", show_default=True, help="Split of the data to evaluate on.")
@options.stage
@options.checkpoint
@options.assignments_for_use
@options.local_plugins
@options.as_json
@click.pass_obj
def evaluate(
    registry: Registry,
    run: Path,
    split: str,
    stage: str | None,
    checkpoint: str,
    assignments: tuple[str, ...],
    allow_local_plugins: bool,
    as_json: bool,
) -> None:
    """Evaluate a checkpoint of RUN on a split of its data.

    RUN is a run folder, such as runs/slot-filling/latest, or the name of a pipeline, which stands for its latest run in
    runs/. With --set data.…, evaluate on other data.
    """
    trained = load_target("dlpipe.engine.inference:open_run")(
        run,
        registry=registry,
        stage=stage,
        checkpoint=checkpoint,
        assignments=assignments,
        allow_local_plugins=allow_local_plugins,
    )
    metrics = load_target("dlpipe.engine.inference:evaluate_run")(trained, split, same_data=not assignments)
    if as_json:
        nested: dict[str, Any] = {}
        for name, value in metrics.items():
            evaluator, _, metric = name.partition("/")
            nested.setdefault(evaluator, {})[metric] = value
        echo(to_json(nested))
        return
    echo(f"{split} split, {trained.checkpoint.name}")
    width = max(map(display_width, metrics), default=0)
    for name, value in metrics.items():
        echo(f"  {padded(name, width)}  {shown_number(value)}")
