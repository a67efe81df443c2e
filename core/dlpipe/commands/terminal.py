"""Writing to the terminal: the only place of the commands that does."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import click

from dlpipe.messages import Weighted, printable

#: Share of the largest weight from which a piece of text is colored, and from which it is bold.
COLORED, BOLD = 0.1, 0.5
#: Columns beside an indentation below which text is not wrapped.
MIN_TEXT = 20


def echo(text: str = "", *, err: bool = False, nl: bool = True, bold: bool = False) -> None:
    """Write text to standard output or, with `err`, to standard error; control characters in it are shown, not sent."""
    click.secho(printable(text), err=err, nl=nl, bold=bold or None)


def terminal_width() -> int | None:
    """Return the columns of the terminal that standard output is, None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def echo_wrapped(text: str, indent: int) -> None:
    """Write text to standard output: on a terminal in lines of its width, in a file or a pipe as one line, for `grep`.

    Args:
        indent: columns in front of the second line and those after it.
    """
    width = terminal_width()
    if width is not None and width >= indent + MIN_TEXT:
        lines = textwrap.wrap(
            text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )
        text = "\n".join(lines)
    echo(text)


def is_weighted(value: Any) -> bool:
    """Return whether a value of an answer is a list of `Weighted` pieces."""
    return isinstance(value, list) and bool(value) and all(isinstance(piece, Weighted) for piece in value)


def echo_weighted(name: str, pieces: Sequence[Weighted]) -> None:
    """Write pieces of text in a row: cyan for weights above zero, red below, bold for those that matter most."""
    largest = max(abs(piece.weight) for piece in pieces)
    styled = "".join(_styled(piece, largest) for piece in pieces)
    click.echo(f"{printable(name)}: {styled.rstrip()}")


def _styled(piece: Weighted, largest: float) -> str:
    text = printable(piece.text)
    if abs(piece.weight) <= COLORED * largest:
        return text
    # Green and red look alike to some people.
    return click.style(text, fg="cyan" if piece.weight > 0 else "red", bold=abs(piece.weight) >= BOLD * largest or None)
