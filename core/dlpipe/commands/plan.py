"""``dlpipe plan``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Pipeline
from dlpipe.errors import InputError
from dlpipe.json_text import to_json
from dlpipe.messages import padded, relative, shown, shown_seconds, shown_size
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target
from dlpipe.splits import SPLITS

PARTS = {
    "data": "data",
    "forward_and_loss": "forward and loss",
    "backward": "backward",
    "optimizer": "optimizer",
    "rest": "rest",
}
Line = tuple[str, str, str]
#: What --find-lr takes.
LR_OPTIONS = ("lr_from", "lr_to", "lr_steps", "lr_stage", "lr_figure")
#: Where --find-lr draws its test.
FIGURE = "learning_rates.png"


@click.command(
    epilog="""\b
Examples:
  dlpipe plan slot_filling                           (a pipeline that comes with dlpipe)
  dlpipe plan mine.toml --set trainer.batch_size=256 --json
  dlpipe plan mine.toml --tune                       (which settings make it faster here)
  dlpipe plan mine.toml --find-lr                    (which learning rate it could use)"""
)
@options.pipeline_file
@options.assignments
@options.runs
@click.option("--tune", is_flag=True, help="Also measure other settings, and print those that make the steps faster.")
@click.option("--find-lr", is_flag=True, help="Also test a range of learning rates, and suggest one.")
@click.option("--lr-from", default=1e-7, show_default=True, metavar="RATE", help="First rate of --find-lr.")
@click.option("--lr-to", default=10.0, show_default=True, metavar="RATE", help="Last rate, unless the loss diverges.")
@click.option("--lr-steps", default=100, show_default=True, metavar="N", help="Steps of --find-lr, each with a rate.")
@click.option("--lr-stage", metavar="NAME", help="Stage of --find-lr. By default, the last one.")
@click.option(
    "--lr-figure",
    default=FIGURE,
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the test of --find-lr into this file.",
)
@options.local_plugins
@options.as_json
@click.pass_context
def plan(
    context: click.Context,
    file: Path,
    assignments: tuple[str, ...],
    runs: Path,
    tune: bool,
    find_lr: bool,
    lr_from: float,
    lr_to: float,
    lr_steps: int,
    lr_stage: str | None,
    lr_figure: Path,
    allow_local_plugins: bool,
    as_json: bool,
) -> None:
    """Measure a few steps, and say what a run will take.

    FILE is a pipeline file, or the name of a pipeline that comes with dlpipe. Reports the time of a step and its parts,
    memory, checkpoints, the time of the whole run and the disk that it needs. Keeps nothing. Exits with 1 if memory or
    disk are too small.
    """
    registry: Registry = context.obj
    if not find_lr:
        options.refuse_without_effect(context, LR_OPTIONS, "without --find-lr")
    figure_is_new = context.get_parameter_source("lr_figure") != ParameterSource.COMMANDLINE
    if find_lr and figure_is_new and lr_figure.exists():
        raise InputError(f"{lr_figure} exists; choose another file with --lr-figure, or name it to replace it")

    def load(more: Sequence[str]) -> Pipeline:
        return load_pipeline(file, registry, (*assignments, *more), allow_local_plugins=allow_local_plugins)

    pipeline = load(())
    options.mention_sweep(pipeline, file, "plan is of")
    for warning in pipeline.warnings:
        echo(f"warning: {warning}", err=True)
    if find_lr:
        load_target("dlpipe.engine.rate_finder:require_rate")(pipeline.stage(lr_stage))
    models: dict[str, Any] = {}
    found = load_target("dlpipe.engine.planning:plan")(pipeline, runs, models)
    planned = found.plain()
    if not as_json:
        _show(planned, runs)
    if tune:
        planned["tuning"] = load_target("dlpipe.engine.tuning:tune")(load, found.longest, models).plain()
    if find_lr:
        find = load_target("dlpipe.engine.rate_finder:find_rate")
        rates = find(pipeline, pipeline.stage(lr_stage).name, models, lowest=lr_from, highest=lr_to, steps=lr_steps)
        load_target("dlpipe.engine.rate_finder:draw")(rates, lr_figure)
        planned["learning_rate"] = rates.plain() | {"figure": str(lr_figure)}
    if as_json:
        echo(to_json(planned, indent=1))
        return
    if tune:
        _show_tuning(planned["tuning"])
    if find_lr:
        _show_rate(planned["learning_rate"])


def _show_rate(found: dict[str, Any]) -> None:
    """Show what a range test found, and what to write into the file."""
    stage = "" if found["stage"] == "pipeline" else f" of stage {found['stage']}"
    rates = found["rates"]
    echo(f"range test of the learning rate{stage}: {len(rates)} steps from {rates[0]:.2g}; {found['stopped']}")
    echo(f"  steepest descent  {found['steepest']:.2g}")
    echo(f"  minimum / 10      {found['minimum']:.2g}")
    if found["now"] is not None:
        echo(f"  now               {found['now']:.2g}")
    echo(f"drawn into {found['figure']}")
    echo("\nto put into the file (the smaller of the two):\n")
    echo(found["patch"])


def _show(planned: dict[str, Any], runs: Path) -> None:
    """Show what each stage takes, and all of them together."""
    for name, stage in planned["stages"].items():
        _show_stage(name if len(planned["stages"]) > 1 else "", stage)
    if len(planned["stages"]) > 1:
        echo(f"all stages: {shown_seconds(planned['total_seconds'])}")
    echo(
        f"disk: {shown_size(planned['disk_bytes'])} needed in {relative(runs)}/, "
        f"{shown_size(planned['free_bytes'])} free"
    )


def _show_tuning(tuning: dict[str, Any]) -> None:
    """Show what was tried, and what to write into the file."""
    stage = "" if tuning["stage"] == "pipeline" else f" of stage {tuning['stage']}"
    echo(f"other settings, steps{stage} compared in turn; a gain up to {tuning['noise']:.0%} is noise")
    lines = [
        (", ".join(f"{path} = {shown(value)}" for path, value in tried["values"].items()), tried)
        for tried in tuning["tried"]
    ]
    width = max((len(values) for values, _ in lines), default=0)
    for values, tried in lines:
        found = tried["problem"] or f"{tried['gain']:.2f} times as fast; {tried['numbers']}"
        echo(f"  {padded(values, width)}  {found}")
    if tuning["best"]:
        echo("\nto put into the file:\n")
        echo(tuning["best"]["patch"])
    else:
        echo("none of them makes the steps faster: this file is as fast as it gets here")


def _show_stage(name: str, stage: dict[str, Any]) -> None:
    """Show what a stage takes as a table: what, how much, and more about it."""
    where = f"{stage['device']}, {stage['precision']}, {stage['threads']} thread{'s' * (stage['threads'] != 1)}"
    title = f"{stage['data']}, {stage['model']}, {stage['trainer']} on {where}"
    echo(f"stage {name}: {title}" if name else title)
    lines = [*_about_model(stage), *_about_step(stage), *_about_rest(stage)]
    first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
    for what, amount, more in lines:
        echo(f"  {padded(what, first)}  {padded(amount, second)}  {more}".rstrip())
    for note in stage["notes"]:
        echo(f"  note: {note}")


def _about_model(stage: dict[str, Any]) -> Iterator[Line]:
    count = stage["parameters"]
    yield "parameters", f"{count['total']:,}", f"{count['trainable']:,} trained; weights {shown_size(count['bytes'])}"
    memory = stage["memory"]
    what = "growth of the process (peak RSS)" if memory["kind"] == "peak RSS growth" else memory["kind"]
    yield "memory", shown_size(memory["bytes"]), f"{what}; {shown_size(memory['available_bytes'])} available"
    if batch := stage["largest_batch"]:
        if batch["method"] == "estimate":
            how = f"estimate: backward keeps {shown_size(batch['bytes_per_example'])} per example"
        else:
            how = "by doubling"
        limit = "all training examples" if batch["limited_by"] == "examples" else "limited by memory"
        yield "largest batch", f"{batch['batch_size']:,}", f"{limit} ({how})"


def _about_step(stage: dict[str, Any]) -> Iterator[Line]:
    step, size = stage["step"], stage["batch_size"]
    batch = f"batch_size = {size}; " if size else ""
    measured = f"{batch}median of {step['measured']} after {step['warm_up']} others"
    yield "a step", shown_seconds(step["seconds"]), f"{measured}; mean {shown_seconds(step['mean_seconds'])}"
    for part, title in PARTS.items():
        if (seconds := step["parts"][part]) is not None:
            yield f"  {title}", shown_seconds(seconds), f"{seconds / step['seconds']:.0%}"
    if step["flops"]:
        rate = step["flops"] / step["seconds"] / 1e9
        yield (
            "operations",
            f"{step['flops'] / 1e9:.3g} GFLOP",
            f"per step in products and convolutions; {rate:.3g} GFLOP/s",
        )


def _about_rest(stage: dict[str, Any]) -> Iterator[Line]:
    run = stage["run"]
    for split in SPLITS:
        if found := stage[split]:
            yield f"evaluation on {split}", shown_seconds(found["seconds"]), _scope(found)
    checkpoint = stage["checkpoint"]
    yield "checkpoint", shown_seconds(checkpoint["seconds"]), shown_size(checkpoint["bytes"])
    during = " and ".join(split for split in ("train", "dev") if stage[split])
    ends = " until the minutes are used" if run["ends_by"] == "minutes" else ""
    pieces = [
        f"start {shown_seconds(run['start_seconds'])}",
        f"{run['steps']:,} steps{ends} {shown_seconds(run['training_seconds'])}",
        f"{run['evaluations']:,} evaluations on {during or 'dev'}{', and on test' if stage['test'] else ''} "
        f"{shown_seconds(run['evaluation_seconds'])}",
        f"{run['checkpoints']:,} checkpoints {shown_seconds(run['checkpoint_seconds'])}",
    ]
    yield "whole run", shown_seconds(run["total_seconds"]), "; ".join(pieces)
    yield (
        "disk",
        shown_size(run["checkpoint_bytes"] + run["log_bytes"]),
        f"up to {run['kept_checkpoints']} checkpoints at once; metrics {shown_size(run['log_bytes'])}",
    )


def _scope(evaluation: dict[str, Any]) -> str:
    count, measured = evaluation["examples"], evaluation["measured"]
    if count is None:
        return "measured as a whole"
    return f"{count:,} examples" + (f"; scaled from {measured:,} of them" if measured < count else "")
