"""Read labeled texts from users' own files.

What a path holds is detected from names:

* a *table* (.csv, .tsv, .jsonl), with one text per row and its label in another column;
* *one file per class* (``rt-polarity.pos`` and ``rt-polarity.neg``, or ``pos.txt`` and ``neg.txt``), one text per line;
* *one folder per class* (``pos/0_9.txt``), one text per file.

A folder may have one of these for each split: ``train.csv`` and ``test.csv``, or ``train/pos`` and ``test/pos``. Lines
end at a line feed only: other characters that end a line for str.splitlines(), such as U+0085, belong to the text.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlpipe.data import decode_text, split_named
from dlpipe.errors import DataError
from dlpipe.messages import nearest, other_separator
from dlpipe_text.iob import check_file, entries_of, is_folder, listing, quoted, why_unreadable

#: An escape of JSON that stands for a character beyond U+FFFF together with a second one.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
TABLES = (".csv", ".tsv", ".jsonl")
MAX_BYTES = 10**9  # takes up to 40 GB in memory while it is read
#: What often lies beside data.
NOT_DATA = ("readme", "license", "licence", "source")
EXPECTED = (
    f"expected a table ({', '.join(TABLES)}), one file per class such as pos.txt and neg.txt, one folder per class, or "
    "these for train, dev and test"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A text as a file has it, and where that is."""

    text: str
    label: str
    where: str
    split: str = ""


@dataclass(frozen=True)
class Reader:
    """How tables and texts are read.

    Args:
        text: column of the texts.
        label: column of the labels.
        split: column that says which split a row belongs to; None if there is none.
        encoding: of all files.
        options: what the options of `text` and `label` are called, for messages.
    """

    text: str
    label: str
    split: str | None
    encoding: str
    options: tuple[str, str] = ("text", "label")

    def rows(self, paths: Sequence[Path]) -> Iterator[Row]:
        """Yield the texts of a split: a table, a folder of folders, or files of one class each."""
        paths = _unfolded(paths)
        if table := _table_of(paths):
            yield from self._table(table)
        elif all(map(is_folder, paths)):
            for folder in paths:
                for file in contents(folder):
                    yield Row(decoded(file, self.encoding, may_be_empty=True), folder.name, str(file))
        else:
            for file, label in classes_of(paths).items():
                for number, line in lines_in(decoded(file, self.encoding)):
                    yield Row(line, label, f"{file}:{number}")

    def check_columns(self, path: Path, sources: Mapping[str, Sequence[Path]]) -> None:
        """Refuse columns if no split in `path` is a table.

        Raises:
            DataError: there are such columns.
        """
        if any(_table_of(_unfolded(paths)) for paths in sources.values()):
            return
        text, label = self.options
        for option, column, default in (
            (text, self.text, text),
            (label, self.label, label),
            ("split", self.split, None),
        ):
            if column != default:
                raise DataError(f"{option} = {quoted(str(column))} has no effect: {path} has no table; remove {option}")

    def _table(self, path: Path) -> Iterator[Row]:
        text = decoded(path, self.encoding)
        wanted = [name for name in (self.text, self.label, self.split) if name is not None]
        of_objects = path.suffix.lower() == ".jsonl"
        for number, record in json_records(path, text) if of_objects else table_rows(path, text):
            where = f"{path}:{number}"
            for name in wanted:
                if name not in record:
                    place, kind = (where, "key") if of_objects else (f"{path}:1", "column")
                    options = f"{self.options[0]}, {self.options[1]} and split"
                    advice = f"{nearest(name, record)} Set {options} to the names of the {kind}s"
                    raise DataError(
                        f"{place}: no {kind} {quoted(name)}; there are {', '.join(map(quoted, record))}."
                        f"{('' if of_objects else _other_separator(path, list(record))) or advice}"
                    )
            value = record[self.label]
            if isinstance(value, list | dict):
                raise DataError(f"{where}: {quoted(self.label)} is {_json(value)}; expected a text or a number")
            label = "" if value is None else str(value).strip()
            if not label:
                raise DataError(f"{where}: the {self.options[1]} is empty; expected one. Correct or delete the row")
            if not isinstance(record[self.text], str):
                found = _json(record[self.text])
                raise DataError(f"{where}: {quoted(self.text)} is {found}; expected a text in quotation marks")
            yield Row(record[self.text], label, where, self._split_of(record, where))

    def _split_of(self, record: dict[str, Any], where: str) -> str:
        if self.split is None:
            return ""
        named = split_named(str(record[self.split]).strip())
        if named is None:
            raise DataError(
                f"{where}: {quoted(self.split)} is {quoted(str(record[self.split]))}; expected train, dev or test, or "
                "another common name of these"
            )
        return named


def _json(value: object) -> str:
    """Return a value as the file has it, truncated to 60 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def find_sources(path: Path) -> dict[str, list[Path]]:
    """Return the paths of each split; a path without splits is "train"."""
    if not is_folder(path):
        if path.suffix.lower() not in TABLES:
            raise DataError(f"{path}: a file of another kind; {EXPECTED}. Give the folder of several files")
        return {"train": [path]}
    entries = contents(path)
    found: dict[str, list[Path]] = defaultdict(list)
    for entry in entries:
        # The last part of "chn.train.csv" says it, too.
        if split := split_named(entry.stem) or split_named(entry.stem.rpartition(".")[2]):
            found[split].append(entry)
    if not found:
        return {"train": [path]}
    used = {entry: _kind(entry) for paths in found.values() for entry in paths}
    if left := [entry.name for entry in entries if entry not in used and _kind(entry) in used.values()]:
        raise DataError(
            f"{path}: {', '.join(left)} would be left out, since {', '.join(entry.name for entry in used)} is named "
            "after a split; expected splits or classes. Rename a class of such a name, or remove what is neither"
        )
    for split, paths in found.items():
        if len(paths) > 1 and any(is_folder(entry) or entry.suffix.lower() in TABLES for entry in paths):
            names = ", ".join(entry.name for entry in paths)
            raise DataError(f"{path}: {len(paths)} candidates for {split}: {names}; expected one. Remove the others")
    if "train" not in found:
        raise DataError(f"{path}: no train split among {listing(path)}; {EXPECTED}. Rename the files")
    return {split: found[split] for split in ("train", "dev", "test") if split in found}


def _unfolded(paths: Sequence[Path]) -> Sequence[Path]:
    """Return what a split consists of: the content of its folder, if it has one."""
    return contents(paths[0]) if len(paths) == 1 and is_folder(paths[0]) else paths


def _table_of(paths: Sequence[Path]) -> Path | None:
    """Return the table that a split consists of, if it does."""
    table = paths[0]
    return table if len(paths) == 1 and table.suffix.lower() in TABLES and not is_folder(table) else None


def _kind(entry: Path) -> str:
    """Return what an entry has in common with others that hold the same kind of data."""
    return "folder" if is_folder(entry) else entry.suffix.lower()


def contents(folder: Path) -> list[Path]:
    """Return what a folder contains, without hidden files and those that describe the data."""
    entries = [each for each in entries_of(folder) if not each.name.startswith(".")]
    entries = [each for each in entries if each.stem.lower() not in NOT_DATA]
    if not entries:
        raise DataError(f"{folder}: an empty folder; {EXPECTED}. Correct the path")
    return entries


def classes_of(files: Sequence[Path]) -> dict[Path, str]:
    """Return the class of each file: its ending if the files have one name, its name if they have one ending.

    Raises:
        DataError: the names have neither in common.
    """
    if len(files) > 1 and not any(map(is_folder, files)):
        if len({file.stem for file in files}) == 1:
            return {file: file.suffix.removeprefix(".") for file in files}
        if len({file.suffix for file in files}) == 1 and files[0].suffix.lower() not in TABLES:
            return {file: file.stem for file in files}
    raise DataError(
        f"{files[0].parent}: the folder contains {listing(files[0].parent)}; {EXPECTED}. Rename the files, or "
        "remove those that do not belong to the data"
    )


def decoded(path: Path, encoding: str, *, may_be_empty: bool = False) -> str:
    """Return the text of a file without its byte-order mark.

    Args:
        may_be_empty: whether an empty file is allowed.

    Raises:
        DataError: it cannot be read, is not in this encoding, or contains a NUL.
        InputError: there is no such encoding.
    """
    try:
        check_file(path, MAX_BYTES, may_be_empty=may_be_empty)
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {why_unreadable(path, error)}") from error
    return decode_text(raw, str(path), encoding)


def lines_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and the text of each line; the last one need not end."""
    lines = text.split("\n")
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, start=1):
        yield number, line.removesuffix("\r")


def table_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line and the fields of each row below the header of a .csv or .tsv file.

    In a .csv file, fields may be quoted and contain line feeds; in a .tsv file, quotation marks are ordinary.
    """
    rows: Iterator[tuple[int, list[str]]]
    if path.suffix.lower() == ".tsv":
        rows = ((number, line.split("\t")) for number, line in lines_in(text))
    else:
        rows = csv_rows(path, text)
    _, header = next(rows, (1, []))
    if len(set(header)) < len(header):
        raise DataError(f"{path}:1: two columns of one name among {', '.join(map(quoted, header))}; rename one")
    for number, fields in rows:
        if len(fields) != len(header) and fields not in ([], [""]):
            advice = " Put fields with a comma in quotation marks, or correct the row"
            raise DataError(
                f"{path}:{number}: {len(fields)} columns; expected {len(header)} as in the header, "
                f"{', '.join(map(quoted, header))}.{_other_separator(path, header) or advice}"
            )
        if len(fields) == len(header):
            yield number, dict(zip(header, fields, strict=True))


def _other_separator(path: Path, header: Sequence[str]) -> str:
    signs = "tabs" if path.suffix.lower() == ".tsv" else "commas"
    return other_separator(header, f"separate the columns by {signs}")


def csv_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row starts, and its fields."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    try:
        for fields in reader:
            yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{start}: the row that starts here cannot be read ({error}); expected commas between fields, "
            "quotation marks around those with commas, and at most 131,072 characters in each"
        ) from error


def json_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line and the keys of each object of a .jsonl file."""
    for number, line in lines_in(text):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if _SURROGATE.search(line):
                json.dumps(record, ensure_ascii=False).encode()  # half of a pair of these is no character
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: {quoted(line)} is not JSON ({error}); expected an object") from error
        if not isinstance(record, dict):
            raise DataError(f'{path}:{number}: {quoted(line)}; expected an object such as {{"text": …, "label": …}}')
        yield number, record
