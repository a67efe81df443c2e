from collections import Counter

import polars as pl
import pytest

from dlpipe.errors import DataError
from dlpipe.tabular.reading import RawTable
from dlpipe.tabular.splitting import HeldOut, by_column


def table(cells):
    return RawTable("rows.csv", pl.DataFrame({"y": cells}), pl.Series(range(2, 2 + len(cells))), True, "")


def strata(part):
    return part.frame["y"].to_list()


def held_out(**options):
    return HeldOut(**{"test_size": None, "dev_size": None, "fold": None, "folds": 5, "seed": 0, **options})


def test_shares_of_each_class_are_held_out_first_for_test_then_for_dev():
    parts = held_out(test_size=0.2, dev_size=0.25).apply({"train": table(["a"] * 20 + ["b"] * 10)}, strata)

    assert {name: Counter(strata(part)) for name, part in parts.items()} == {
        "train": {"a": 12, "b": 6},
        "dev": {"a": 4, "b": 2},
        "test": {"a": 4, "b": 2},
    }
    assert sorted(line for part in parts.values() for line in part.lines) == list(range(2, 32))


def test_a_fold_is_the_test_split():
    lines = [
        line
        for fold in range(1, 4)
        for line in held_out(fold=fold, folds=3).apply({"train": table(["a"] * 12)}, strata)["test"].lines
    ]

    assert sorted(lines) == list(range(2, 14))


def test_splits_that_are_given_stay_as_they_are():
    given = {"train": table(["a"] * 20), "test": table(["a"] * 3)}

    parts = held_out().apply(given, strata)

    assert parts["test"] is given["test"]
    assert len(parts["train"]) + len(parts["dev"]) == 20


@pytest.mark.parametrize(("option", "own"), [("test_size", "test"), ("dev_size", "dev"), ("fold", "test")])
def test_a_size_for_a_split_that_is_given_is_refused(option, own):
    value = 1 if option == "fold" else 0.2
    message = rf"{option} = {value} has no effect: the data has a {own} split of its own; remove {option}"

    with pytest.raises(DataError, match=message):
        held_out(**{option: value}).apply({"train": table(["a"] * 9), own: table(["a"])}, strata)


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (["a", "a"], {}, r"rows.csv: no rows for the dev split; add rows, or change the sizes"),
        (list("aaabbb"), {"test_size": 0.5}, r"rows.csv: no rows for the dev split; add rows, or change the sizes"),
        (
            ["7 kg", "8 kg", "9 kg"],
            {},
            r'no rows for the dev split: the target has 3 different classes in 3 rows, such as "7 kg", and a class of one '
            r"row stays in train. If it should be a number, convert all its values to numbers; else add rows",
        ),
    ],
)
def test_too_few_rows_are_refused(cells, options, message):
    with pytest.raises(DataError, match=message):
        held_out(**options).apply({"train": table(cells)}, strata)


def test_a_column_names_the_split_of_each_row_by_its_common_names():
    parts = by_column(table(["Training", "val", "test", "train"]), "y")

    assert {name: part.lines.to_list() for name, part in parts.items()} == {"train": [2, 5], "dev": [3], "test": [4]}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["train", "other"], r'rows.csv:3: "y" is "other"; expected train, dev or test, or another common name'),
        (["train", None], r'rows.csv:3: "y" is ""; expected train, dev or test'),
        (["dev", "test"], r'rows.csv: no row has train in "y"; expected some. Correct split'),
    ],
)
def test_a_column_that_names_no_splits_is_refused(cells, message):
    with pytest.raises(DataError, match=message):
        by_column(table(cells), "y")


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_seed_decides_which_rows_are_held_out(split):
    other = {"dev": "test", "test": "dev"}[split]  # is given, so that it decides nothing

    def lines(seed):
        given = {"train": table(["a"] * 30), other: table(["a"])}
        return held_out(seed=seed).apply(given, strata)[split].lines.to_list()

    assert lines(3) == lines(3)
    assert lines(3) != lines(4)
