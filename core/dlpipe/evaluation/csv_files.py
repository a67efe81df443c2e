"""Tables of evaluators as CSV files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

#: Where a spreadsheet would see the start of a formula, which could send data away: at the start of a cell, or after
#: what separates cells in some countries. Source: OWASP, "CSV Injection",
#: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile(r"^(?=[=+\-@\t\r\n＝＋－＠])|(?<=[;\t\r\n])(?=[=+\-@＝＋－＠])")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


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
        csv.writer(file).writerows(map(_harmless, row) for row in rows)


def _harmless(cell: object) -> object:
    is_text = isinstance(cell, str) and not _NUMBER.fullmatch(cell)
    return _FORMULA.sub("'", str(cell)) if is_text else cell
