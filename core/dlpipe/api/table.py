"""A small table of plain values, without pandas: rows are dicts, columns are lists."""

from __future__ import annotations

import html
import importlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from dlpipe.errors import InputError
from dlpipe.messages import display_width, nearest, padded, printable

#: The rows of a table that are shown, and those at the start and at the end of a longer one.
MAX_ROWS, HEAD, TAIL = 60, 5, 5
#: Columns of the terminal that a table takes.
WIDTH = 120


class Table(Sequence[dict[str, Any]]):
    """Rows of plain values; ``table[0]`` is a row, ``table["step"]`` a column, ``table[-3:]`` a table.

    Args:
        rows: by name of the column; a name that a row lacks has the value None.
        columns: their names, in order; by default those of the rows, in the order in which they first occur.

    Raises:
        InputError: a column that is asked for does not exist; the nearest one is named.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], columns: Iterable[str] | None = None) -> None:
        self._rows = [dict(row) for row in rows]
        found = dict.fromkeys(name for row in self._rows for name in row)
        self._columns = tuple(found if columns is None else columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._columns

    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice) -> Table: ...
    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            self._require(key)
            return [row.get(key) for row in self._rows]
        if isinstance(key, slice):
            return Table(self._rows[key], self._columns)
        return {name: self._rows[key].get(name) for name in self._columns}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))

    def dropna(self, *columns: str) -> Table:
        """Return the rows that have a value in all these columns, without the columns that have none in these rows."""
        for column in columns:
            self._require(column)
        rows = [row for row in self._rows if all(row.get(name) is not None for name in columns)]
        return Table(rows, [name for name in self._columns if any(row.get(name) is not None for row in rows)])

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame``.

        Raises:
            InputError: pandas is not installed.
        """
        return _package("pandas").DataFrame(list(self), columns=list(self._columns))

    def to_polars(self) -> Any:
        """Return a ``polars.DataFrame``.

        Raises:
            InputError: polars is not installed.
        """
        return _package("polars").DataFrame({name: self[name] for name in self._columns}, strict=False)

    def __repr__(self) -> str:
        if not self._columns:
            return "(an empty table)"
        lines = [list(self._columns), *(row or ["…"] * len(self._columns) for row in self._shown())]
        widths = [max(display_width(line[place]) for line in lines) for place in range(len(self._columns))]
        ends = list(itertools.accumulate(width + 2 for width in widths))
        count = max(1, sum(end <= WIDTH for end in ends))
        text = "\n".join(
            "  ".join(
                padded(printable(cell), width) for cell, width in zip(line[:count], widths, strict=False)
            ).rstrip()
            for line in lines
        )
        left_out = self._columns[count:]
        return f"{text}\n{len(left_out)} more columns: {', '.join(left_out)}" if left_out else text

    def _repr_html_(self) -> str:
        more = f"<p>{len(self):,} rows</p>" if len(self) > MAX_ROWS else ""
        left_out = ["…"] * len(self._columns)
        return html_table([row or left_out for row in self._shown()], self._columns) + more

    def _shown(self) -> list[list[str]]:
        """Return the cells of the first and the last rows, and an empty list where rows are left out."""
        rows = list(self)
        kept: list[dict[str, Any] | None] = [*rows]
        if len(rows) > MAX_ROWS:
            kept = [*rows[:HEAD], None, *rows[-TAIL:]]
        return [[] if row is None else [_cell(row[name]) for name in self._columns] for row in kept]

    def _require(self, column: str) -> None:
        if column not in self._columns:
            known = ", ".join(self._columns) or "none"
            raise InputError(f"there is no column {column!r}; there are {known}.{nearest(column, self._columns)}")


def html_table(rows: Iterable[Iterable[object]], columns: Iterable[str] = ()) -> str:
    """Return a table in HTML; all text is escaped."""
    cells = lambda tag, row: "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row)  # noqa: E731
    head = f"<thead><tr>{found}</tr></thead>" if (found := cells("th", columns)) else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"{name} is not installed; install it with: pip install {name}") from None
