"""What stands in the cells of a column: numbers or categories, each checked with its place."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

import polars as pl

from dlpipe.errors import DataError, InputError
from dlpipe.messages import shown
from dlpipe.tabular.reading import DecimalSign, RawTable

#: What looks like a number with a decimal comma.
_DECIMAL_COMMA = r"^[+-]?[0-9.]*,[0-9]+$"
#: ... and as much like one with a comma between thousands.
_THOUSANDS_COMMA = r"^[+-]?[1-9][0-9]{0,2},[0-9]{3}$"
#: A column of texts is one of numbers with a decimal comma if more than this share of its cells are.
_MOST = 0.5
#: A number with a decimal comma, and perhaps with points between thousands.
_WITH_COMMA = r"^[+-]?(([0-9]+|[1-9][0-9]{0,2}(\.[0-9]{3})+)(,[0-9]+)?|,[0-9]+)([eE][+-]?[0-9]+)?$"
#: A number with a decimal point.
_WITH_POINT = r"^[+-]?[0-9]*\.[0-9]*([eE][+-]?[0-9]+)?$"
#: The truth values of JSON.
TRUTH_VALUES = ("true", "false")
#: A cell of a JSON object.
Cell = str | float | bool | None


def require_usable(table: RawTable, name: str) -> None:
    """Raise a `DataError` if a column has neither numbers nor texts nor truth values."""
    dtype = table.frame[name].dtype
    if not (dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null)):
        raise DataError(
            f"{table.source}: column {shown(name)} is of the type {dtype}; expected numbers, texts or truth values. "
            f"Leave it out with exclude = [{shown(name)}], or convert it"
        )
    if table.frame[name].null_count() == len(table):
        raise DataError(
            f"{table.source}: column {shown(name)} has no value in any row; leave it out with exclude = [{shown(name)}]"
        )


def has_texts_only(table: RawTable, name: str) -> bool:
    """Return whether a column has categories: truth values, or texts of which none is a number."""
    values = table.frame[name]
    if values.dtype == pl.Boolean:
        return True
    return values.dtype == pl.String and not _parsed(values, table.decimal).is_not_null().any()


def refuse_decimal_commas(table: RawTable, name: str, otherwise: str) -> None:
    """Raise a `DataError` if a column of texts has numbers with a comma, decimal or not, which would be categories.

    Args:
        otherwise: what to do if these are no numbers.
    """
    values = table.frame[name]
    if values.dtype != pl.String or table.decimal == ",":
        return
    found = values.filter(values.str.contains(_DECIMAL_COMMA))
    if len(found) > _MOST * values.count():
        kind, advice = "a decimal comma", 'set decimal = ","'
        if found.str.contains(_THOUSANDS_COMMA).all():
            kind = "a comma"
            advice = 'remove the commas if they separate thousands, set decimal = "," if they are decimal commas'
        raise DataError(
            f"{table.source}: column {shown(name)} has numbers with {kind}, such as {shown(found[0])}; {advice}, or "
            f"{otherwise} if these are no numbers"
        )


def numbers_of(table: RawTable, name: str) -> pl.Series:
    """Return a column as float64, null where a value is missing.

    Raises:
        DataError: there is a text that is not a number or has another decimal sign, or a number that is infinite.
    """
    values = table.frame[name]
    numbers = _parsed(values, table.decimal) if values.dtype == pl.String else values.cast(pl.Float64, strict=False)
    wrong = values.is_not_null() & ~(numbers.is_finite().fill_null(False))
    if wrong.any():
        row = int(wrong.arg_true()[0])
        found = values[row]
        others = f"; so are {int(wrong.sum()) - 1:,} others" if wrong.sum() > 1 else ""
        raise DataError(
            f"{table.place(row)}: column {shown(name)} has {shown(str(found))}; expected a finite number{others}. "
            f"{_advice(str(found), table.decimal)}"
        )
    return numbers


class KnownCategories:
    """The categories of training, and how else a cell of another file or of an item may be written.

    A truth value matches whatever its capitals are: true of JSON is the True that pandas writes into a CSV file. A
    number that is no text matches the category that is the same number, such as "1.0", if there is only one. A text
    never matches another number: 1 and 1.0 may be two versions.
    """

    def __init__(self, categories: Iterable[str | None]) -> None:
        self._own = {category for category in categories if category is not None}
        self._by_meaning: dict[str | Decimal, list[str]] = {}
        for category in self._own:
            if (meaning := _meaning(category)) is not None:
                self._by_meaning.setdefault(meaning, []).append(category)

    def find(self, cell: str | float) -> str:
        """Return the category that a cell stands for; one that is not known as its text."""
        text = category_text(cell)
        for own in (cell, text):
            if isinstance(own, str) and own in self._own:
                return own
        if isinstance(cell, str) and text.casefold() not in TRUTH_VALUES:
            return text
        meaning = _meaning(text)
        same = [] if meaning is None else self._by_meaning.get(meaning, [])
        return same[0] if len(same) == 1 else text


def categories_of(values: pl.Series, known: KnownCategories | None = None) -> list[str | None]:
    """Return a column as categories, those of training where they are known; None where a value is missing."""
    if values.dtype == pl.String and known is None:
        return list(values)
    text_of = known.find if known else category_text
    texts = {value: None if value is None else text_of(value) for value in values.unique()}
    return [texts[value] for value in values]


def category_text(value: str | float) -> str:
    """Return the category that a cell stands for: 1 and 1.0 are "1", true is "true"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def number_in(name: str, cell: Cell, decimal: DecimalSign) -> float:
    """Return the number that a cell of an item stands for; `decimal` is how decimals are written in texts.

    Raises:
        InputError: it is none.
    """
    value = _with_point(cell) if isinstance(cell, str) and decimal == "," else cell
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (isinstance(cell, str) and "_" in cell):
        writing = '; with decimal = ",", texts are written as in "1.234,5"' if decimal == "," else ""
        raise InputError(f"{shown(name)} is {shown(cell)}; expected a number{writing}")
    return number


def category_in(name: str, cell: Any, known: KnownCategories) -> str:
    """Return the category that a cell of an item stands for.

    Raises:
        InputError: it is a list or an object.
    """
    if not isinstance(cell, (str, int, float)):
        raise InputError(f"{shown(name)} is {shown(cell)}; expected a text or a number")
    return known.find(cell)


def _meaning(text: str) -> str | Decimal | None:
    """Return the truth value or the number that a text is, None if it is neither."""
    if text.casefold() in TRUTH_VALUES:
        return text.casefold()
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _advice(cell: str, decimal: DecimalSign) -> str:
    if decimal == "," and re.fullmatch(_WITH_POINT, cell):
        return 'Use a decimal comma, remove decimal = "," if all have a point, or name the column in categorical'
    if decimal == "." and re.fullmatch(_THOUSANDS_COMMA, cell):
        return 'Remove the comma if it separates thousands; if it is a decimal comma, set decimal = ","'
    if decimal == "." and re.fullmatch(_DECIMAL_COMMA, cell):
        return 'Write decimals with a point, or set decimal = "," if all have a comma'
    return "Correct it, add it to missing_values, or name the column in categorical"


def _parsed(values: pl.Series, decimal: DecimalSign) -> pl.Series:
    """Return the numbers that texts stand for: null for one that is none, NaN for one with another decimal sign."""
    numbers = values.cast(pl.Float64, strict=False)
    if decimal == ".":
        return numbers
    points = values.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    return points.cast(pl.Float64, strict=False).zip_with(values.str.contains(_WITH_COMMA), numbers * math.nan)


def _with_point(cell: str) -> str | None:
    """Return a number with a decimal comma as one with a point; None for another text."""
    text = cell.strip()
    return text.replace(".", "").replace(",", ".") if re.fullmatch(_WITH_COMMA, text) else None
