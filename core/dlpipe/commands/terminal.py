"""Writing to the terminal: the only place of the commands that does."""

from __future__ import annotations

import click

from dlpipe.messages import printable


def echo(text: str = "", *, err: bool = False, nl: bool = True, bold: bool = False) -> None:
    """Write text to standard output or, with `err`, to standard error; control characters in it are shown, not sent."""
    click.secho(printable(text), err=err, nl=nl, bold=bold or None)
