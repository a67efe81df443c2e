"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from dlpipe.commands.terminal import echo
from dlpipe.config.pipeline import Pipeline
from dlpipe.config.shipped import file_of
from dlpipe.config.tables import SWEEP
from dlpipe.errors import InputError
from dlpipe.json_text import to_json
from dlpipe.messages import relative
from dlpipe.runs.folder import REPORT, RunFolder
from dlpipe.sweep.plan import count_trials

Command = TypeVar("Command", bound=Callable[..., Any])


class PipelineFile(click.Path):
    """A pipeline file, or the name of a pipeline that comes with dlpipe if there is no such file."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path of the file."""
        return file_of(str(super().convert(value, param, ctx)))


class RunPath(click.Path):
    """A run folder, or the folder of a pipeline's runs for the latest of them; or a name in runs/ of one of these."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path of the run folder."""
        return RunFolder.latest_in(RunFolder.path_of(str(super().convert(value, param, ctx))))


pipeline_file = click.argument("file", type=PipelineFile())
run_folder = click.argument("run", type=RunPath())


def _assignments(example: str) -> Callable[[Command], Command]:
    return click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="PATH=VALUE",
        help=f"Override a key of the pipeline, such as {example}. Can be repeated.",
    )


assignments = _assignments("trainer.epochs=3 or model.cell=gru")
#: For a trained model, on which another training or another architecture has no effect.
assignments_for_use = _assignments("data.path=new_images or data.test=new.csv")
runs = click.option(
    "--runs",
    default="runs",
    type=click.Path(path_type=Path),
    help="Create run folders in this folder.",
    show_default=True,
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
local_plugins = click.option(
    "--allow-local-plugins",
    is_flag=True,
    envvar="DLPIPE_ALLOW_LOCAL_PLUGINS",
    help="Allow the pipeline to run the Python files that it names in `plugins`.",
)
accept_changes = click.option(
    "--accept-changes",
    is_flag=True,
    help="Resume although code, data or resolved.toml are not what the run began with; what has changed is recorded.",
)
profile = click.option(
    "--profile", is_flag=True, help="Record some steps, and write a trace and the costliest operators into profile/."
)
quiet = click.option("--quiet", "-q", is_flag=True, help="Show only warnings, errors and the result.")
stage = click.option("--stage", metavar="NAME", help="Stage of the run. By default, the last one.")
checkpoint = click.option(
    "--checkpoint",
    default="best",
    show_default=True,
    metavar="best|last|STEP",
    help="Checkpoint to use.",
)


def refuse_without_effect(context: click.Context, names: Container[str], why: str) -> None:
    """Refuse options of the command line that would have no effect.

    Args:
        names: of their parameters.
        why: they would have none, such as "with --dry-run".

    Raises:
        InputError: one of them is given.
    """
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in names and context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise InputError(f"{parameter.opts[0]} has no effect {why}; leave it out")


def echo_outcome(folder: RunFolder) -> None:
    """Print where a run is and how it has ended, as JSON."""
    echo(to_json({"run": str(folder.path), **folder.status()}))


def mention_results(folder: RunFolder) -> None:
    """Say what a run has left, and what can be done with it."""
    shown, report = relative(folder.path), folder.path / REPORT
    lines = [f"  look at it:   {relative(report)}"] if report.is_file() else []
    pictures = [relative(path) for path in folder.path.glob("stages/*/figures")]
    pictures += [relative(path) for path in folder.path.glob("figures")]
    lines += [f"  pictures:     {path}" for path in sorted(pictures)]
    lines += [f"  evaluate it:  {folder.command('evaluate')}", f"  improve it:   {folder.command('coach')}"]
    lines += [f"  use it:       {folder.command('predict')} …"]
    echo("\n".join(["", shown, *lines]), err=True)


def mention_sweep(pipeline: Pipeline, file: Path, what: str) -> None:
    """Say that a command does not concern the [sweep] of the file, if there is one.

    Args:
        what: the command does, such as "run is".
    """
    if SWEEP in pipeline.source.values:
        trials = count_trials(pipeline.source.values[SWEEP])
        echo(
            f"{relative(file)} has a [sweep] of {trials} trials; this {what} the pipeline without it. "
            f"To run all trials:  dlpipe sweep {relative(file)}",
            err=True,
        )
