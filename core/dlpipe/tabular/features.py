"""What is learned from the training split about the columns of features, and how it turns cells into tensors.

Axes: N rows, F numbers of a row, D categories of a row.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlpipe.errors import DataError, InputError
from dlpipe.messages import nearest, shown
from dlpipe.tabular.cells import (
    Cell,
    KnownCategories,
    categories_of,
    category_in,
    has_texts_only,
    number_in,
    numbers_of,
    refuse_decimal_commas,
    require_usable,
)
from dlpipe.tabular.reading import DecimalSign, RawTable, listed

Missing = Literal["error", "mean", "median", "most_frequent"]
Scale = Literal["standard", "min_max", "none"]
Array = NDArray[np.float64]
#: A column of texts that is different in more than this share of the rows tells little about other rows.
MANY = 0.5
#: ... unless there are fewer rows than this.
FEW_ROWS = 20


@dataclass(frozen=True)
class Preparation:
    """How columns are prepared.

    Args:
        missing: what stands in for a missing number; "error" refuses it.
        indicator: whether a column with missing values gets a second one that says where.
        scale: what becomes of numbers.
        categorical: columns whose numbers are categories.
    """

    missing: Missing
    indicator: bool
    scale: Scale
    categorical: Sequence[str]


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers, which become ``(number - center) / scale``.

    Args:
        fill: what stands in for a missing number; None refuses it.
        indicator: whether another number says, 1 or 0, where it is missing.
    """

    name: str
    fill: float | None
    indicator: bool
    center: float
    scale: float

    @property
    def filled_with(self) -> str:
        """What stands in for a missing number, in words."""
        return f"with {self.fill:.6g}"

    @classmethod
    def learn(cls, table: RawTable, name: str, how: Preparation) -> NumberColumn:
        """Learn it from the training split."""
        numbers = numbers_of(table, name)
        fill: Any = None
        if how.missing == "most_frequent":
            fill = numbers.drop_nulls().mode().min()  # of several, the smallest, as scikit-learn does
        elif how.missing != "error":
            fill = numbers.mean() if how.missing == "mean" else numbers.median()
        elif numbers.null_count():
            _refuse_missing(table, name, "train")
        values = _filled(numbers, fill)
        center, scale = scaling(values, how.scale)
        return cls(name, fill, how.indicator and bool(numbers.null_count()), center, scale)

    def encode(self, table: RawTable, split: str) -> tuple[list[Array], int]:
        """Return the numbers (N,), where they are missing (N,) if that is indicated, and how many are."""
        numbers = numbers_of(table, self.name)
        missing = numbers.null_count()
        if missing and self.fill is None:
            _refuse_missing(table, self.name, split)
        scaled = (_filled(numbers, self.fill) - self.center) / self.scale
        return [scaled, *([numbers.is_null().to_numpy().astype(np.float64)] if self.indicator else [])], missing

    def encode_cell(self, cell: Cell, decimal: DecimalSign) -> list[float]:
        """Return the same of one cell; `decimal` is how decimals are written in texts."""
        number = self.fill if cell is None else number_in(self.name, cell, decimal)
        if number is None:
            raise InputError(f"{shown(self.name)} is missing; expected a number, as in all rows of training")
        scaled = (number - self.center) / self.scale
        if abs(scaled) > torch.finfo(torch.float32).max:
            raise InputError(f"{shown(self.name)} is {shown(cell)}; expected a number that fits into float32")
        return [scaled, *([float(cell is None)] if self.indicator else [])]


@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories, which become whole numbers from 1; 0 is one that training did not have.

    Args:
        values: the category of each number, the first one of 1; None stands for a missing value.
        fill: what stands in for a missing value; None if nothing does.
        refuses_missing: whether a missing value is an error.
    """

    name: str
    values: Sequence[str | None]
    fill: str | None
    refuses_missing: bool

    @cached_property
    def known(self) -> KnownCategories:
        """The categories of training, as cells may write them."""
        return KnownCategories(self.values)

    @property
    def filled_with(self) -> str:
        """What stands in for a missing category, in words."""
        if self.fill is not None:
            return f"with {shown(self.fill)}"
        return "a category of its own" if None in self.values else "the unknown category, as train has no missing one"

    @classmethod
    def learn(cls, table: RawTable, name: str, how: Preparation) -> CategoryColumn:
        """Learn it from the training split."""
        found = categories_of(table.frame[name])
        if None in found and how.missing == "error":
            _refuse_missing(table, name, "train")
        known = sorted({value for value in found if value is not None})
        fill = None
        if how.missing == "most_frequent":
            counts = Counter(found)
            fill = max(known, key=counts.__getitem__)
        own: list[str | None] = [None] if None in found and fill is None else []
        return cls(name, [*known, *own], fill, how.missing == "error")

    def encode(self, table: RawTable, split: str) -> tuple[NDArray[np.int64], int, list[str]]:
        """Return the numbers (N,), how many values are missing, and the categories that are not known."""
        found = categories_of(table.frame[self.name], self.known)
        missing = found.count(None)
        if missing and self.refuses_missing:
            _refuse_missing(table, self.name, split)
        ids = self._ids()
        unknown = [value for value in found if value is not None and value not in ids]
        return np.array([ids.get(value, 0) for value in found], dtype=np.int64), missing, unknown

    def encode_cell(self, cell: Cell) -> int:
        """Return the number of one cell."""
        if cell is None and self.refuses_missing:
            raise InputError(f"{shown(self.name)} is missing; expected one of {_examples(self.values)}")
        return self._ids().get(None if cell is None else category_in(self.name, cell, self.known), 0)

    def _ids(self) -> dict[str | None, int]:
        ids = {value: number for number, value in enumerate(self.values, start=1)}
        return ids | ({None: ids[self.fill]} if self.fill is not None else {})


#: A column of features.
Column = NumberColumn | CategoryColumn


class Features:
    """The columns that a model gets.

    Args:
        numbers: those that are numbers.
        categories: those that are categories.
        ignored: other columns that the training table has; an item may have them too.
    """

    def __init__(
        self, numbers: Sequence[NumberColumn], categories: Sequence[CategoryColumn], ignored: Sequence[str]
    ) -> None:
        self.numbers, self.categories, self.ignored = numbers, categories, ignored
        self._columns: list[Column] = [*numbers, *categories]

    @property
    def names(self) -> list[str]:
        """The names of the columns: those of numbers, then those of categories."""
        return [column.name for column in self._columns]

    @classmethod
    def learn(cls, table: RawTable, names: Sequence[str], how: Preparation) -> Features:
        """Learn the columns `names` from the training split.

        Raises:
            DataError: a column cannot be used.
        """
        for name in names:
            require_usable(table, name)
            if name not in how.categorical:
                refuse_decimal_commas(table, name, "name the column in categorical")
        are = [name in how.categorical or has_texts_only(table, name) for name in names]
        numbers = [NumberColumn.learn(table, name, how) for name, is_one in zip(names, are, strict=True) if not is_one]
        categories = [CategoryColumn.learn(table, name, how) for name, is_one in zip(names, are, strict=True) if is_one]
        _warn_of_useless(table, names, categories)
        return cls(numbers, categories, [name for name in table.frame.columns if name not in names])

    def encode(self, table: RawTable, split: str) -> dict[str, Tensor]:
        """Return ``numbers`` (N, F) and ``categories`` (N, D) of a split, those that there are; say what was filled."""
        arrays: list[Array] = []
        ids: list[NDArray[np.int64]] = []
        filled: dict[str, int] = {}
        for number in self.numbers:
            found, filled[number.name] = number.encode(table, split)
            arrays += found
        for category in self.categories:
            encoded, filled[category.name], unknown = category.encode(table, split)
            ids.append(encoded)
            if unknown:
                warnings.warn(
                    f"{split}: {len(unknown):,} rows have categories of {shown(category.name)} that train does not "
                    f"have, such as {shown(unknown[0])}; all of these are one unknown category",
                    stacklevel=2,
                )
        self._say_filled(split, filled, len(table))
        columns = {}
        if arrays:
            columns["numbers"] = torch.from_numpy(np.stack(arrays, axis=1)).float()
            if not columns["numbers"].isfinite().all():
                raise DataError(
                    f"{table.source}: there are numbers beyond 3e38; expected numbers that fit into float32"
                )
        if ids:
            columns["categories"] = torch.from_numpy(np.stack(ids, axis=1))
        return columns

    def keys(self, table: RawTable) -> list[int]:
        """Return a key for each row: equal if all its features are, also those that `encode` maps to one number."""
        numbers = {column.name: numbers_of(table, column.name) for column in self.numbers}
        texts = {column.name: categories_of(table.frame[column.name], column.known) for column in self.categories}
        return list(pl.DataFrame(numbers | texts, schema_overrides=dict.fromkeys(texts, pl.String)).hash_rows())

    def refuse_unknown(self, columns: Iterable[str], place: str = "") -> None:
        """Raise an `InputError`, which begins with `place`, if training had none of one of these columns."""
        names = self.names
        for name in columns:
            if name not in names and name not in self.ignored:
                raise InputError(
                    f"{place}no column {shown(name)} in training; there were {listed(names)}.{nearest(name, names)}"
                )

    def encode_item(self, item: Mapping[str, Cell], decimal: DecimalSign = ".") -> dict[str, Tensor]:
        """Return ``numbers`` (F,) and ``categories`` (D,) of one row; `decimal` is how decimals are written in texts.

        Raises:
            InputError: a column is missing or unknown, or its cell cannot be used.
        """
        names = self.names
        self.refuse_unknown(item)
        for name in names:
            if name not in item:
                raise InputError(
                    f"no value for {shown(name)}.{nearest(name, [n for n in item if n not in names])} Expected "
                    f"{listed(names)}; a value that is missing is null"
                )
        columns = {}
        if self.numbers:
            cells = [cell for column in self.numbers for cell in column.encode_cell(item[column.name], decimal)]
            columns["numbers"] = torch.tensor(cells)
        if self.categories:
            columns["categories"] = torch.tensor([each.encode_cell(item[each.name]) for each in self.categories])
        return columns

    def unknown(self, item: Mapping[str, Cell]) -> list[str]:
        """Return the columns of an item with categories that training did not have."""
        return [each.name for each in self.categories if not each.encode_cell(item[each.name])]

    def facts(self) -> dict[str, Any]:
        """Return the facts about the features; see `dlpipe.tabular.table.Table`."""
        flags = [f"{column.name} is missing" for column in self.numbers if column.indicator]
        return {
            "num_features": len(self.numbers) + len(flags),
            "cardinalities": [len(column.values) + 1 for column in self.categories],
            "feature_names": self.names,
        }

    def state(self) -> dict[str, Any]:
        """Return all of it, JSON-serializable."""
        return {
            "numbers": [asdict(column) for column in self.numbers],
            "categories": [asdict(column) for column in self.categories],
            "ignored": list(self.ignored),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Features:
        """Return what `state` described."""
        numbers = [NumberColumn(**column) for column in state["numbers"]]
        return cls(numbers, [CategoryColumn(**column) for column in state["categories"]], state["ignored"])

    def _say_filled(self, split: str, filled: Mapping[str, int], rows: int) -> None:
        fills = {column.name: column.filled_with for column in self._columns if filled[column.name]}
        parts = [f"{shown(name)} {filled[name]:,} of {rows:,} ({fill})" for name, fill in fills.items()]
        if parts:
            warnings.warn(f"{split}: missing values were filled: {', '.join(parts)}", stacklevel=3)


def scaling(values: Array, scale: Scale) -> tuple[float, float]:
    """Return what is subtracted from numbers (N,), and what they are divided by then."""
    spread = float(values.max() - values.min())
    if scale == "none":
        return 0.0, 1.0
    if scale == "min_max":
        return float(values.min()), spread or 1.0
    # By rounding, the standard deviation of equal numbers need not be 0.
    return float(values.mean()), float(values.std()) if spread else 1.0


def _filled(numbers: pl.Series, fill: float | None) -> Array:
    return (numbers if fill is None else numbers.fill_null(fill)).to_numpy()


def _refuse_missing(table: RawTable, name: str, split: str) -> None:
    rows = table.frame[name].is_null().arg_true()
    raise DataError(
        f"{table.place(int(rows[0]))}: column {shown(name)} has no value, as in {len(rows):,} of {len(table):,} rows "
        f'of {split}; fill them with missing = "mean", "median" or "most_frequent", leave the column out with exclude, '
        "or complete the rows"
    )


def _warn_of_useless(table: RawTable, names: Sequence[str], categories: Sequence[CategoryColumn]) -> None:
    constant = [name for name in names if table.frame[name].n_unique() == 1]
    if constant:
        warnings.warn(
            f"{listed(constant)}: the same value in all rows of train, so a model learns nothing from it; add "
            f"{listed(constant)} to exclude, or remove it from columns",
            stacklevel=4,
        )
    for column in categories:
        if len(table) >= FEW_ROWS and len(column.values) > MANY * len(table):
            warnings.warn(
                f"{shown(column.name)} has {len(column.values):,} different values in {len(table):,} rows of train, so "
                f"most tell nothing about other rows; add {shown(column.name)} to exclude, or remove it from columns",
                stacklevel=4,
            )


def _examples(values: Sequence[str | None]) -> str:
    return listed([value for value in values if value is not None])
