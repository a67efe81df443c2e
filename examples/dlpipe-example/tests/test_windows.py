"""A series in windows: what is forecast from what."""

import pytest
import torch
from dlpipe import DataError, InputError

from dlpipe_example.csv_column import csv_column
from dlpipe_example.windows import Windows

SIZES = {"context_length": 5, "horizon": 3, "season": 4, "dev_size": 6, "test_size": 7}


def windows(length=40, **changes):
    return Windows(lambda: torch.arange(length).float(), **{**SIZES, **changes}, origin="numbers")


def test_targets_follow_their_context_and_are_in_one_split_only():
    data = windows()
    seen = []

    for name in data.splits:
        columns = data.split(name).columns
        both = torch.cat([columns["context"], columns["targets"]], dim=1)
        assert torch.equal(both, both[:, :1] + torch.arange(8))
        seen.append(set(columns["targets"].flatten().int().tolist()))

    assert [(min(each), max(each)) for each in seen] == [(5, 26), (27, 32), (33, 39)]


def test_the_unit_of_mase_is_the_seasonal_difference_of_the_training_split():
    assert windows().facts["naive_error"] == 4  # the series rises by 1 per value

    restored = windows()
    restored.restore({"naive_error": 2.5})
    assert restored.facts["naive_error"] == 2.5


@pytest.mark.parametrize(
    ("item", "message"),
    [("1 2 x 4 5", "expected numbers, separated by spaces"), ("1 2", "2 numbers: expected 5, the newest values")],
)
def test_an_item_must_be_as_many_numbers_as_a_context(item, message):
    with pytest.raises(InputError, match=message):
        windows().encode(item)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context_length": 3}, r"context_length = 3: expected at least one season \(4\)"),
        ({"dev_size": 2}, r"dev_size = 2: expected at least one horizon \(3\)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        windows(**changes)


def test_a_series_that_is_too_short_is_refused():
    with pytest.raises(DataError, match="numbers has 20 values; expected at least 25"):
        windows(length=20).split("train")


def test_a_series_without_anything_to_forecast_is_refused():
    data = Windows(lambda: torch.ones(40), **SIZES, origin="ones")

    with pytest.raises(DataError, match="ones: each season is as the one before"):
        _ = data.facts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("month,sales\n1,2\n", "no column 'sale'. Did you mean \"sales\"?"),
        ("sale\n1\nmany\n", ":3: sale = 'many'; expected a number"),
        ("sale\n1\nnan\n", ":3: sale is not finite; expected a number"),
        ("month,sale\n1\n", ":2: sale = None; expected a number"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_line(tmp_path, text, message):
    (tmp_path / "sales.csv").write_text(text)

    with pytest.raises(DataError) as caught:
        csv_column(tmp_path / "sales.csv", "sale").split("train")
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"missing.csv: .*No such file"):
        csv_column(tmp_path / "missing.csv", "sale").split("train")
