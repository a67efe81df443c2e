"""Tables for people: on a terminal within its width, in a file as wide as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlpipe.messages import printable


def make_table(columns: Sequence[str], rows: Iterable[tuple[Sequence[str], str | None]]) -> Table:
    """Return a table; control characters in its cells are shown.

    Args:
        rows: the cells and the style of each.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
    for cells, style in rows:
        table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
    return table


def make_console() -> Console:
    """Return what writes tables to standard output."""
    console = Console(highlight=False)
    if not console.is_terminal:  # in a file, width does not matter
        console.width = 1000
    return console


def echo_table(table: Table) -> None:
    """Write a table to standard output."""
    make_console().print(table)
