"""Which rows of tables are for training, dev and test: by a column, by files, or at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from dlpipe.data.held_out import stratified_fold, stratified_sample
from dlpipe.data.split_names import split_named
from dlpipe.errors import DataError
from dlpipe.messages import shown
from dlpipe.splits import SPLITS
from dlpipe.tabular.cells import categories_of
from dlpipe.tabular.reading import RawTable

#: The share of the rows that is held out for dev and for test where nothing else is said.
SHARE = 0.15


@dataclass(frozen=True)
class HeldOut:
    """What is held out from the training table for splits that it does not give.

    Args:
        test_size: share of the rows; None for `SHARE`.
        dev_size: share of the rows that are left; None for `SHARE`.
        fold: number of the fold that is the test split, from 1; None for a share.
        folds: how many there are.
    """

    test_size: float | None
    dev_size: float | None
    fold: int | None
    folds: int
    seed: int

    def apply(self, given: Mapping[str, RawTable], strata: Callable[[RawTable], list[str]]) -> dict[str, RawTable]:
        """Return train, dev and test.

        Args:
            given: the splits that there are, train among them.
            strata: returns the class of each row, the same for all where there are none.

        Raises:
            DataError: a size is given for a split that there is, or a split has no rows.
        """
        for name, value in (("test_size", self.test_size), ("fold", self.fold), ("dev_size", self.dev_size)):
            own = name.removesuffix("_size").replace("fold", "test")
            if value is not None and own in given:
                raise DataError(f"{name} = {value} has no effect: the data has a {own} split of its own; remove {name}")
        found = dict(given)
        if "test" not in found:
            labels = strata(found["train"])
            if self.fold is not None:
                chosen = stratified_fold(labels, self.fold, self.folds, self.seed)
            else:
                chosen = stratified_sample(labels, self.test_size or SHARE, self.seed)
            found["train"], found["test"] = _divided(found["train"], chosen)
        if "dev" not in found:
            chosen = stratified_sample(strata(found["train"]), self.dev_size or SHARE, self.seed)
            found["train"], found["dev"] = _divided(found["train"], chosen)
        for name in SPLITS:
            if not len(found[name]):
                raise DataError(f"{found[name].source}: no rows for the {name} split{_why(strata(given['train']))}")
        return {name: found[name] for name in SPLITS}


def _why(labels: list[str]) -> str:
    """Return why rows of these classes leave none for a split, and the next step."""
    rows = Counter(labels)
    if len(rows) == 1 or list(rows.values()).count(1) <= len(rows) / 2:
        return "; add rows, or change the sizes of the splits"
    return (
        f": the target has {len(rows):,} different classes in {len(labels):,} rows, such as {shown(labels[0])}, and a "
        "class of one row stays in train. If it should be a number, convert all its values to numbers; else add rows"
    )


def by_column(table: RawTable, column: str) -> dict[str, RawTable]:
    """Return the rows of each split that a column names.

    Raises:
        DataError: a row names no split, or no row is for training.
    """
    table.require([column], "split")
    names = [None if name is None else split_named(name) for name in categories_of(table.frame[column])]
    if None in names:
        row = names.index(None)
        found = table.frame[column][row]
        raise DataError(
            f"{table.place(row)}: {shown(column)} is {shown(str(found) if found is not None else '')}; expected train, "
            "dev or test, or another common name of these"
        )
    if "train" not in names:
        raise DataError(f"{table.source}: no row has train in {shown(column)}; expected some. Correct split")
    of = pl.Series(names)
    return {name: table.take(of == name) for name in SPLITS if name in names}


def _divided(table: RawTable, chosen: set[int]) -> tuple[RawTable, RawTable]:
    """Return the rows whose numbers are not chosen, and those whose numbers are."""
    taken = pl.Series([number in chosen for number in range(len(table))], dtype=pl.Boolean)
    return table.take(~taken), table.take(taken)
