"""The program ``dlpipe``: its commands, errors and exit codes.

Like components, commands come from plugins. A command is imported when it runs; ``dlpipe --help`` imports neither
torch nor numpy.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click

from dlpipe.commands.terminal import echo
from dlpipe.errors import ComponentError, DlpipeError, InputError, Interrupted, in_words, is_out_of_memory
from dlpipe.messages import nearest
from dlpipe.registry.loading import Registry, load_plugins
from dlpipe.registry.targets import load_command
from dlpipe.runs.streams import is_read, unfailing

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
        return None if component is None else load_command(component.spec.target)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what one of a plugin raises is the plugin's mistake."""
        try:
            return super().invoke(ctx)
        except (DlpipeError, click.ClickException, click.Abort, click.exceptions.Exit, OSError):
            raise
        except Exception as error:
            component = self._registry.find("command", ctx.invoked_subcommand or "")
            if component is None or component.namespace == "core":
                raise
            raise ComponentError.of(error, f"`dlpipe {component.spec.name}` ({component.distribution}):") from error

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
    # A reader of our output that has seen enough decides no exit code: click would make it 1.
    sys.stdout, sys.stderr = unfailing(_open(sys.stdout), BrokenPipeError), unfailing(_open(sys.stderr))
    code, written = _exit_code(_run_program), True
    try:
        sys.stdout.flush()
    except OSError as error:
        echo(f"standard output cannot be written: {error.strerror}", err=True)
        code, written = code or 1, False
    if not (written and is_read(sys.stdout)):
        # What could not be written must not be tried again at exit, where nobody could catch the error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _open(stream: TextIO | None) -> TextIO:
    """Return a standard stream, or one that discards everything where the program was started without it."""
    return stream if stream is not None else Path(os.devnull).open("w", encoding="utf-8")


def _run_program() -> int:
    try:
        Path.cwd()
    except FileNotFoundError:  # torch would abort when it is imported
        raise InputError("the working directory has been removed; change to another one") from None
    registry = load_plugins()
    warnings.showwarning = _show_warning
    if "_DLPIPE_COMPLETE" not in os.environ:
        for warning in registry.warnings:
            echo(f"warning: {warning}", err=True)
    code = make_program(registry).main(prog_name="dlpipe", standalone_mode=False, obj=registry)
    return code if isinstance(code, int) else 0


def _exit_code(program: Callable[[], int]) -> int:
    """Run the program; for whatever it raises, print one message and return the exit code."""
    try:
        return program()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        echo("interrupted", err=True)
        return Interrupted.exit_code
    except Exception as error:
        if "--debug" in sys.argv:
            echo(traceback.format_exc(), err=True, nl=False)
        if isinstance(error, DlpipeError):
            message = str(error)
        elif isinstance(error, OSError) or is_out_of_memory(error):
            message = in_words(error)
        else:
            message = f"internal error: {in_words(error)}. Please report it with the output of `dlpipe --debug …`"
        echo(message, err=True)
        return error.exit_code if isinstance(error, DlpipeError) else 1


def _show_warning(message: Warning | str, *context: Any, **options: Any) -> None:
    echo(f"warning: {message}", err=True)
