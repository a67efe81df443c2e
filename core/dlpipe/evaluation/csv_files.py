"""Tables of evaluators as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from dlpipe.messages import spreadsheet_safe


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a table; a name that a spreadsheet would take for a formula gets a ``'`` in front, a number does not.

    Args:
        path: of the file.
        rows: the heading and the lines; None is an empty cell.

    Raises:
        OSError: it cannot be written.
    """
    # A file name need not be UTF-8.
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        csv.writer(file).writerows(map(spreadsheet_safe, row) for row in rows)
