"""How ``dlpipe predict`` writes its answers: as text for a person, as JSON lines, or as a table (CSV)."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from dlpipe.commands.terminal import echo, echo_weighted, is_weighted
from dlpipe.errors import DlpipeError, InputError
from dlpipe.items import FailedItem
from dlpipe.json_text import to_json
from dlpipe.messages import display_width, padded, relative, spreadsheet_safe
from dlpipe.runs.atomic import flush, require_new, unfinished

Answer = Mapping[str, Any]
#: Between the parts of a list in a cell.
SEPARATOR = "|"
#: The column of the reason why an item could not be used, the last one.
ERROR = "error"


class Form(Protocol):
    """Writes answers one by one."""

    def write(self, answer: Answer | FailedItem) -> None:
        """Write an answer, or that there is none."""

    def close(self) -> None:
        """Write what is left."""


class AsText:
    """Tables and lines for a person, on standard output; the reasons of failures are on standard error alone."""

    def __init__(self) -> None:
        self._number = 0

    def write(self, answer: Answer | FailedItem) -> None:
        """Print an answer."""
        if isinstance(answer, FailedItem):
            return
        weighted = {name: value for name, value in answer.items() if is_weighted(value)}
        plain = {name: value for name, value in answer.items() if name not in weighted}
        echo(("\n" if self._number else "") + as_table(plain))
        for name, pieces in weighted.items():
            echo_weighted(name, pieces)
        self._number += 1

    def close(self) -> None:
        """Do nothing: all is written."""


class AsJsonLines:
    """One line for each item: its answer, or ``{"item": …, "error": …}``.

    Args:
        put: writes a text.
    """

    def __init__(self, put: Callable[[str], Any]) -> None:
        self._put = put

    def write(self, answer: Answer | FailedItem) -> None:
        """Write one line."""
        content = answer.plain() if isinstance(answer, FailedItem) else answer
        self._put(to_json(content, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Do nothing: all is written."""


class AsTable:
    """A table with a heading, one row for each item, and the reasons of failures in the last column.

    The first answer decides the columns; failures before it wait for it.

    Args:
        put: writes a text.
    """

    def __init__(self, put: Callable[[str], Any]) -> None:
        self._put = put
        self._columns: list[str] = []
        self._waiting: list[FailedItem] = []

    def write(self, answer: Answer | FailedItem) -> None:
        """Write one row.

        Raises:
            DlpipeError: the answer has something for which there is no column.
        """
        if isinstance(answer, FailedItem):
            if self._columns:
                self._row(answer.plain())
            else:
                self._waiting.append(answer)
            return
        cells = cells_of(answer)
        if not self._columns:
            self._begin(list(cells))
        if extra := [name for name in cells if name not in self._columns]:
            raise DlpipeError(
                f'the answer for {cells.get("item", "an item")} has "{extra[0]}", which the first answer lacks; '
                "such answers are no table, write them as JSON lines: --json, or a file that ends in .jsonl"
            )
        self._row(cells)

    def close(self) -> None:
        """Write the failures that have been waiting for a first answer."""
        if not self._columns:
            self._begin(["item"])

    def _begin(self, columns: list[str]) -> None:
        self._columns = [*columns, *([ERROR] if ERROR not in columns else [])]
        self._line(self._columns)
        for each in self._waiting:
            self._row(each.plain())
        self._waiting = []

    def _row(self, cells: Mapping[str, Any]) -> None:
        self._line([cells.get(name) for name in self._columns])

    def _line(self, cells: list[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(map(spreadsheet_safe, cells))
        self._put(text.getvalue())


def cells_of(answer: Answer) -> dict[str, Any]:
    """Return an answer as cells by column.

    Tables become a column for each entry, ``top`` as in ``top_1_label``, other lists one cell of parts between ``|``.
    A list of lists, and one in which a part contains the separator, is written as JSON.
    """
    cells: dict[str, Any] = {}
    for name, value in answer.items():
        if isinstance(value, Mapping):
            cells |= {f"{name}_{key}": _cell(part) for key, part in value.items()}
        elif isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
            for number, part in enumerate(value, start=1):
                cells |= {f"{name}_{number}_{key}": _cell(each) for key, each in part.items()}
        else:
            cells[name] = _cell(value)
    return cells


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return to_json(value, ensure_ascii=False)
    if not isinstance(value, list):
        return value
    parts = [str(part) for part in value]
    nested = any(isinstance(part, (list, tuple, Mapping)) for part in value)
    if nested or any(SEPARATOR in part for part in parts) or (parts and parts[0].startswith("[")):
        return to_json(value, ensure_ascii=False)
    return SEPARATOR.join(parts)


FORMS: Mapping[str, Callable[[Callable[[str], Any]], Form]] = {
    ".csv": AsTable,
    ".jsonl": AsJsonLines,
}


def require_answers_file(path: Path) -> None:
    """Refuse a file for the answers before anything is computed.

    Raises:
        InputError: it exists, its name has another ending, or there is no such folder.
    """
    if path.suffix.lower() not in FORMS:
        raise InputError(f"--output {path}: expected a name that ends in {' or '.join(FORMS)}")
    require_new(path)


@contextmanager
def answers_file(path: Path) -> Iterator[Form]:
    """Write answers to a file, which appears when it is complete.

    If the user interrupts or an error ends it, it has the answers so far, each of them whole; a process that is killed
    leaves only a hidden file.

    Raises:
        DlpipeError: the file cannot be written.
    """
    temporary = unfinished(path)
    try:
        with temporary.open("x", newline="", encoding="utf-8", errors="backslashreplace") as file:
            form = FORMS[path.suffix.lower()](file.write)
            try:
                yield form
            except KeyboardInterrupt:
                echo(f"{relative(path)} has the answers so far", err=True)
                raise
            finally:
                form.close()
                file.flush()
                flush(temporary)
                _put_in_place(temporary, path)
    except OSError as error:
        raise DlpipeError(f"{relative(path)} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _put_in_place(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # unlike a rename, it replaces nothing that has appeared meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        temporary.rename(path)


def on_standard_output(name: str) -> Form:
    """Return the form "text", "json" or "csv" on standard output."""
    if name == "text":
        return AsText()
    return (AsTable if name == "csv" else AsJsonLines)(partial(echo, nl=False))


def as_table(answer: Mapping[str, Any]) -> str:
    """Return an answer as text: lists of equal length are columns of a table, everything else is a line.

    The item, and nothing else, precedes the table. A list of tables, such as the most probable classes, is a line.
    """
    lists = {
        name: value
        for name, value in answer.items()
        if isinstance(value, list) and value and not isinstance(value[0], Mapping)
    }
    longest = max((len(value) for value in lists.values()), default=0)
    columns = {name: value for name, value in lists.items() if len(value) == longest}
    if len(columns) < 2:
        columns = {}
    cells = [[_in_words(part) for part in value] for value in columns.values()]
    widths = [max(map(display_width, column)) for column in cells]
    table = [
        "  ".join(padded(part, width) for part, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*cells, strict=True)
    ]
    lines = [
        f"{name}: {_in_words(value)}"
        for name, value in answer.items()
        if name not in columns and value not in ([], {}, None)
    ]
    before = lines[:1] if answer.get("item") and next(iter(answer)) == "item" else []
    return "\n".join([*before, *table, *lines[len(before) :]])


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        if set(value) == {"label", "probability"}:
            return f"{value['label']} {value['probability']}"
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return ", ".join(map(_in_words, value)) if isinstance(value, list) else str(value)
