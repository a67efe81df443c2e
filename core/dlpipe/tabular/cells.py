"""What stands in the cells of a column: numbers or categories, each checked with its place."""

from __future__ import annotations

import math
import re
from typing import Any

import polars as pl

from dlpipe.errors import DataError, InputError
from dlpipe.messages import shown
from dlpipe.tabular.reading import MOST, RawTable

#: What looks like a number with a decimal comma.
_DECIMAL_COMMA = r"^[+-]?[0-9.]*,[0-9]+$"
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


def has_texts_only(values: pl.Series) -> bool:
    """Return whether a column has categories: truth values, or texts of which none is a number."""
    if values.dtype == pl.Boolean:
        return True
    return values.dtype == pl.String and not _parsed(values).is_not_null().any()


def refuse_decimal_commas(table: RawTable, name: str, otherwise: str) -> None:
    """Raise a `DataError` if a column of texts has numbers with a decimal comma, which would be categories.

    Args:
        otherwise: what to do if they are no numbers.
    """
    values = table.frame[name]
    if values.dtype != pl.String:
        return
    found = values.filter(values.str.contains(_DECIMAL_COMMA))
    if len(found) > MOST * values.count():
        raise DataError(
            f"{table.source}: column {shown(name)} has numbers with a decimal comma, such as {shown(found[0])}; set "
            f'decimal = ",", or {otherwise} if they are no numbers'
        )


def numbers_of(table: RawTable, name: str) -> pl.Series:
    """Return a column as float64, null where a value is missing.

    Raises:
        DataError: there is a text that is not a number, or a number that is infinite.
    """
    values = table.frame[name]
    numbers = _parsed(values) if values.dtype == pl.String else values.cast(pl.Float64, strict=False)
    wrong = values.is_not_null() & ~(numbers.is_finite().fill_null(False))
    if wrong.any():
        row = int(wrong.arg_true()[0])
        found = values[row]
        others = f"; so are {int(wrong.sum()) - 1:,} others" if wrong.sum() > 1 else ""
        raise DataError(
            f"{table.place(row)}: column {shown(name)} has {shown(str(found))}; expected a finite number{others}. "
            f"{_advice(str(found))}"
        )
    return numbers


def categories_of(values: pl.Series) -> list[str | None]:
    """Return a column as categories, None where a value is missing."""
    if values.dtype == pl.String:
        return list(values)
    texts = {value: None if value is None else category_text(value) for value in values.unique()}
    return [texts[value] for value in values]


def category_text(value: str | float) -> str:
    """Return the category that a cell stands for: 1 and 1.0 are "1", true is "true"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def number_in(name: str, cell: Cell) -> float:
    """Return the number that a cell of an item stands for.

    Raises:
        InputError: it is none.
    """
    try:
        number = float(cell) if isinstance(cell, (int, float, str)) and not isinstance(cell, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (isinstance(cell, str) and "_" in cell):
        raise InputError(f"{shown(name)} is {shown(cell)}; expected a number")
    return number


def category_in(name: str, cell: Any) -> str:
    """Return the category that a cell of an item stands for.

    Raises:
        InputError: it is a list or an object.
    """
    if not isinstance(cell, (str, int, float)):
        raise InputError(f"{shown(name)} is {shown(cell)}; expected a text or a number")
    return category_text(cell)


def _advice(cell: str) -> str:
    if re.fullmatch(_DECIMAL_COMMA, cell):
        return 'Write decimals with a point, or set decimal = "," if all have a comma'
    return "Correct it, add it to missing_values, or name the column in categorical"


def _parsed(values: pl.Series) -> pl.Series:
    return values.cast(pl.Float64, strict=False)
