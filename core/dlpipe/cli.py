"""The program ``dlpipe``: its commands, errors and exit codes.

Like components, commands come from plugins. A command is imported when it runs; ``dlpipe --help`` imports neither
torch nor numpy.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from typing import Any

import click

from dlpipe.commands.terminal import echo
from dlpipe.errors import DlpipeError
from dlpipe.messages import nearest
from dlpipe.registry.loading import Registry, load_plugins
from dlpipe.registry.targets import load_target

EPILOG = """\b
Getting started:
  dlpipe list pipelines
  dlpipe run slot_filling
  dlpipe predict runs/slot-filling/latest "i want to leave taipei on november 2nd"

Exit codes: 0 success, 1 the run failed, 2 the input is wrong, 3 a plugin is missing or broken,
75 preempted and 130 interrupted (dlpipe resume continues such a run).
"""


class Commands(click.Group):
    """The commands that the plugins of `registry` offer."""

    def __init__(self, registry: Registry, **options: Any) -> None:
        super().__init__(**options)
        self._registry = registry

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of their plugins, those of dlpipe first."""
        return list(self._registry.components["command"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        component = self._registry.find("command", cmd_name)
        if component is None:
            return None
        command = load_target(component.spec.target)
        if not isinstance(command, click.Command):
            raise DlpipeError(f"{component.spec.target} is a {type(command).__name__}; expected a click.Command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for an unknown name, suggest the nearest."""
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            ctx.fail(f"unknown command {args[0]!r}.{nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their summaries, without importing any."""
        components = self._registry.components["command"]
        for title, own in (("Commands", True), ("Commands from plugins", False)):
            rows = [
                (name, known.spec.summary) for name, known in components.items() if (known.namespace == "core") == own
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def make_program(registry: Registry) -> Commands:
    """Return the program with the commands of `registry`."""
    program = Commands(
        registry,
        name="dlpipe",
        help="Train and evaluate deep-learning models. One TOML file describes the data, the model, the trainer and "
        "the evaluators.",
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    version = click.version_option(package_name="dlpipe", message="dlpipe %(version)s")
    debug = click.option("--debug", is_flag=True, help="Show the traceback if a command fails.")
    decorated: Commands = version(debug(program))
    decorated.callback = lambda debug: None
    return decorated


def main() -> None:
    """Run the program and exit with its exit code."""
    registry = load_plugins()
    warnings.showwarning = _show_warning
    if "_DLPIPE_COMPLETE" not in os.environ:
        for warning in registry.warnings:
            echo(f"warning: {warning}", err=True)
    try:
        code = make_program(registry).main(prog_name="dlpipe", standalone_mode=False, obj=registry)
    except DlpipeError as error:
        _show_traceback()
        echo(str(error), err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:
        # The reader of our output has closed it; it must not be flushed at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _show_traceback() -> None:
    if "--debug" in sys.argv:
        echo(traceback.format_exc(), err=True, nl=False)


def _show_warning(message: Warning | str, *context: Any, **options: Any) -> None:
    echo(f"warning: {message}", err=True)
