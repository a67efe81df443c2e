"""``dlpipe new``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dlpipe.commands.scaffold import COMPONENTS, create_plugin, run_command
from dlpipe.commands.terminal import echo
from dlpipe.config.shipped import copy_shipped
from dlpipe.messages import relative, shell_path
from dlpipe.registry.loading import Registry


@click.group()
def new() -> None:
    """Create a pipeline or a plugin to start from."""


@new.command(
    short_help="Copy a pipeline that comes with dlpipe.",
    epilog="""\b
Examples:
  dlpipe list pipelines
  dlpipe new pipeline slot_filling
  dlpipe new pipeline recipe/depth --output experiments/depth.toml""",
)
@click.argument("name")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The new file, or a folder for it. By default, a file of the same name in the current folder.",
)
def pipeline(name: str, output: Path | None) -> None:
    """Copy the pipeline NAME, one of those that come with dlpipe, to a file of your own.

    Files that the pipeline extends and plugins that it brings along are copied to the same folder. Existing files are
    never overwritten.
    """
    file, *needed = copy_shipped(name, output)
    echo(relative(file))
    for path in needed:
        echo(f"{relative(path)}  (needed by {file.name})")
    echo(f"\nEdit it, then:  dlpipe run {shell_path(file)}", err=True)


def _an_option_per_kind(function: Callable[..., Any]) -> Callable[..., Any]:
    for kind in reversed(COMPONENTS):
        what = f"Include a {kind}." if kind != "data" else "Include data."
        function = click.option(f"--{kind}", is_flag=True, help=what.replace("a evaluator", "an evaluator"))(function)
    return function


@new.command(
    short_help="Write a plugin with components, a pipeline and tests.",
    epilog="""\b
Examples:
  dlpipe new plugin mine
  dlpipe new plugin mine --data --model --trainer --evaluator --callback --command
  dlpipe new plugin mine --model      (for data of other plugins)""",
)
@click.argument("name")
@_an_option_per_kind
@click.pass_obj
def plugin(registry: Registry, /, name: str, **included: bool) -> None:
    """Write the plugin NAME, a distribution of its own, to the new folder dlpipe-NAME.

    The options say what it provides; by default, data, a model and an evaluator. Whatever it provides works: there are
    a pipeline and tests that use it, and what a run needs besides is in the tests.
    """
    kinds = [kind for kind, wanted in included.items() if wanted]
    folder = create_plugin(name, kinds, registry)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        echo(path.as_posix())
    steps = [f"cd {folder}", 'pip install -e ".[dev]"', run_command(name, kinds), "pytest"]
    echo("\n".join(["", "Next:", *(f"  {step}" for step in steps)]), err=True)
