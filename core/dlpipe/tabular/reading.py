"""Reading tables from CSV, TSV and Parquet files, and those that come with scikit-learn.

polars parses the files. It pads rows that are too short and renames columns that occur twice without a word, so both
are looked for here.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import polars as pl

from dlpipe.data.decoding import decode_text
from dlpipe.errors import DataError, reason_of
from dlpipe.messages import nearest, other_separator, relative, shown

#: The separator of a text file by its ending; None stands for a Parquet file.
SEPARATORS = {".csv": ",", ".tsv": "\t", ".parquet": None}
#: The data sets that the package contains. Its other tables, such as the Californian houses, are downloads.
SklearnTable = Literal[
    "sklearn:iris",
    "sklearn:wine",
    "sklearn:breast_cancer",
    "sklearn:digits",
    "sklearn:diabetes",
    "sklearn:linnerud",
]
SKLEARN = (
    "sklearn:iris",
    "sklearn:wine",
    "sklearn:breast_cancer",
    "sklearn:digits",
    "sklearn:diabetes",
    "sklearn:linnerud",
)
#: How a message names several columns: at most this many.
MAX_NAMED = 8
#: How decimals are written in texts.
DecimalSign = Literal[".", ","]
#: What to do with a table that has another separator.
SET_SEPARATOR = "set separator to that"


@dataclass(frozen=True)
class RawTable:
    """A table as it was read: text, numbers or truth values by column; null where a value is missing.

    Args:
        source: what a person calls it: the path of its file, or the name of the data set.
        frame: N rows.
        lines: (N,) the line of each row in its file, or its number, counted from 1.
        in_lines: whether `lines` are those of a text file.
        digest: of the file.
        decimal: how decimals are written in texts.
    """

    source: str
    frame: pl.DataFrame
    lines: pl.Series
    in_lines: bool
    digest: str
    decimal: DecimalSign = "."

    def __len__(self) -> int:
        return self.frame.height

    def place(self, row: int) -> str:
        """Return where a row is: ``people.csv:17``, or ``iris, row 16``."""
        return f"{self.source}:{self.lines[row]}" if self.in_lines else f"{self.source}, row {self.lines[row]}"

    def take(self, rows: pl.Series) -> RawTable:
        """Return a table of the rows for which `rows` (N,) is true."""
        return replace(self, frame=self.frame.filter(rows), lines=self.lines.filter(rows))

    def require(self, names: Sequence[str], key: str | None = None) -> None:
        """Raise a `DataError` if a column is missing; `key` is the parameter that names it, if one does."""
        there = self.frame.columns
        for name in names:
            if name not in there:
                advice = other_separator(there, SET_SEPARATOR) or (
                    f"{nearest(name, there)} Correct {f'{key}, or ' if key else ''}the header of the file"
                )
                raise DataError(f"{self.source}: no column {shown(name)}; there are {listed(there)}.{advice}")


def listed(names: Sequence[str]) -> str:
    """Return names for a message."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(map(shown, names[:MAX_NAMED])) + more


@dataclass(frozen=True)
class FileReader:
    """How files are read.

    Args:
        separator: between the fields of a text file; None for a comma in .csv, a tab in .tsv.
        encoding: of text files.
        missing_values: what stands for a missing value, without the blanks around it.
        decimal: how decimals are written in texts; with ",", points may separate thousands.
    """

    separator: str | None
    encoding: str
    missing_values: Sequence[str]
    decimal: DecimalSign = "."

    def read(self, path: Path) -> RawTable:
        """Read a file.

        Raises:
            DataError: it cannot be read, is empty, has rows of other lengths than its header, or a column twice.
        """
        if path.name.startswith("sklearn:"):
            raise DataError(f"{path.name}: scikit-learn contains no such table.{nearest(path.name, SKLEARN)}")
        ending = path.suffix.lower()
        if ending not in SEPARATORS:
            raise DataError(f"{path}: a file of another kind; expected {', '.join(SEPARATORS)}. Convert it")
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}; expected a table. Correct the path") from error
        digest = hashlib.sha256(raw).hexdigest()
        name = relative(path)
        separator = SEPARATORS[ending]
        if separator is None:
            frame = _parquet(name, raw)
            lines, in_lines = pl.Series(range(1, frame.height + 1)), False
        else:
            text = decode_text(raw, name, self.encoding)
            frame, lines = _separated(name, text, self.separator or separator)
            in_lines = True
        if not frame.height:
            raise DataError(f"{name}: no rows below the header; expected at least one")
        return RawTable(name, self._without_missing(frame), lines, in_lines, digest, self.decimal)

    def _without_missing(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the table with null for what stands for a missing value, and without blanks around texts."""
        text, number = pl.col(pl.String).str.strip_chars(), pl.col(pl.Float32, pl.Float64)
        missing = text.is_in(list(self.missing_values))
        return frame.with_columns(pl.when(missing).then(None).otherwise(text).name.keep(), number.fill_nan(None))


def _parquet(name: str, raw: bytes) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(io.BytesIO(raw))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{name} is not a Parquet file: {reason_of(error)}; convert it again") from error
    return frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))


def _separated(name: str, text: str, separator: str) -> tuple[pl.DataFrame, pl.Series]:
    """Return the rows of a text file, and the line on which each starts."""
    if not text.strip():
        raise DataError(f"{name}: an empty file; expected a header with the names of the columns, and rows")
    quote = None if separator == "\t" or '"' not in text else '"'
    lengths, lines = _fields_of_rows(name, text, separator, quote)
    header = _header(name, text, separator, quote)
    options = {"separator": separator, "quote_char": quote, "has_header": False, "skip_rows": 0}
    for length, line in zip(lengths, lines, strict=True):
        if length not in (0, len(header)):
            advice = f" Put fields that contain {shown(separator)} in quotation marks, or correct the row"
            raise DataError(
                f"{name}:{line}: {length} field{'s' * (length > 1)}; expected {len(header)} as in the header, "
                f"{listed(header)}.{other_separator(header, SET_SEPARATOR) or advice}"
            )
    try:
        frame = pl.read_csv(
            io.BytesIO(text.encode()),
            schema=dict.fromkeys(header, pl.String),
            empty_string_is_null=False,
            encoding="utf8",
            **options,  # type: ignore[arg-type]
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{name} cannot be read: {reason_of(error)}; correct the quotation marks of the file"
        ) from error
    if frame.height != len(lines):
        raise DataError(
            f"{name}: {frame.height:,} rows for one way to read its quotation marks, {len(lines):,} for another; "
            "put only whole fields in quotation marks, and write those within them twice"
        )
    kept = pl.Series([number > 0 and length > 0 for number, length in enumerate(lengths)])
    return frame.filter(kept), pl.Series(lines).filter(kept)


def _header(name: str, text: str, separator: str, quote: str | None) -> list[str]:
    """Return the names of the columns, without the blanks around them."""
    if quote is None:
        fields = text.split("\n", 1)[0].split(separator)
    else:
        fields = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    header = [field.strip() for field in fields]
    for number, column in enumerate(header, start=1):
        if not column:
            raise DataError(f"{name}:1: column {number} has no name; expected one for each column. Complete the header")
        if column in header[: number - 1]:
            raise DataError(f"{name}:1: two columns are named {shown(column)}; rename or delete one of them")
    return header


def _fields_of_rows(name: str, text: str, separator: str, quote: str | None) -> tuple[list[int], list[int]]:
    """Return the number of fields of each row, header included and 0 for a blank line, and its line."""
    if quote is None:
        rows = text.split("\n")
        if not rows[-1]:
            rows.pop()
        return [row.count(separator) + 1 if row.strip() else 0 for row in rows], list(range(1, len(rows) + 1))
    lengths, lines, start = [], [], 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for fields in reader:
            lengths.append(0 if fields in ([], [""]) else len(fields))
            lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name}:{start}: the row that starts here cannot be read ({error}); expected {shown(separator)} between "
            "fields, and quotation marks around those with one"
        ) from error
    return lengths, lines
