import polars as pl
import pytest
import torch
from torch.testing import assert_close

from dlpipe.errors import DataError, InputError
from dlpipe.tabular.reading import RawTable
from dlpipe.tabular.targets import Target, task_of


def table(**columns):
    frame = pl.DataFrame(columns)
    return RawTable("rows.csv", frame, pl.Series(range(2, 2 + frame.height)), True, "")


@pytest.mark.parametrize(
    ("cells", "given", "task"),
    [
        (["yes", "no"], None, "classification"),
        ([True, False], None, "classification"),
        (["1.5", "2"], None, "regression"),
        ([1.0, 2.0], None, "regression"),
        (["1", "2"], "classification", "classification"),
        (["1", "2"], "regression", "regression"),
    ],
)
def test_the_task_follows_from_the_target_or_is_given(cells, given, task):
    assert task_of(table(y=cells), ["y"], given) == task


@pytest.mark.parametrize(
    ("cells", "given", "message"),
    [
        (
            ["1", "2", "2"],
            None,
            r'target "y" has 2 different whole numbers, which may be classes or quantities; set task',
        ),
        (
            ["low", "high"],
            "regression",
            r'target "y" has "low", which is not a number; expected numbers for regression',
        ),
        (["1.5", "2"], "classification", r'task = "classification": the target "y" has numbers with decimals'),
    ],
)
def test_a_target_that_does_not_tell_or_fit_its_task_is_refused(cells, given, message):
    with pytest.raises(InputError, match=message):
        task_of(table(y=cells), ["y"], given)


def test_several_targets_are_numbers():
    assert task_of(table(y=["1", "2"], z=["3", "4"]), ["y", "z"], None) == "regression"
    with pytest.raises(InputError, match=r'task = "classification": target names 2 columns, "y", "z"; expected one'):
        task_of(table(y=["1", "2"], z=["3", "4"]), ["y", "z"], "classification")


def test_classes_are_sorted_numbers_by_size():
    target = Target.learn(table(y=["10", "9", "x", "9"]), ["y"], "classification", True)

    assert target.labels == ["9", "10", "x"]
    assert target.encode(table(y=["x", "9"]), "test").tolist() == [2, 0]
    assert target.facts()["num_classes"] == 3
    assert target.facts()["num_targets"] == 0


def test_numbers_are_standardized_by_train_and_decoded_in_their_units():
    target = Target.learn(table(y=[10.0, 20.0, 60.0]), ["y"], "regression", True)

    encoded = target.encode(table(y=["45", "30"]), "test")

    deviation = (1400 / 3) ** 0.5
    assert_close(encoded, torch.tensor([15 / deviation, 0.0]))
    assert target.decode(encoded[0]) == {"y": 45.0}
    assert target.facts()["target_mean"] == [30.0]


def test_numbers_can_stay_in_their_units():
    target = Target.learn(table(y=[10.0, 20.0]), ["y"], "regression", False)

    assert target.encode(table(y=[45.0]), "test").tolist() == [45.0]


def test_several_numbers_are_one_row_each():
    target = Target.learn(table(y=[10.0, 20.0], z=[1.0, 5.0]), ["y", "z"], "regression", True)

    encoded = target.encode(table(y=[15.0, 20.0], z=[5.0, 3.0]), "test")

    assert encoded.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert target.decode(encoded[0]) == {"y": 15.0, "z": 5.0}


@pytest.mark.parametrize(
    ("cells", "task", "message"),
    [
        (
            ["a", None, "b"],
            "classification",
            r'rows.csv:3: the target "y" has no value, as in 1 of 3 rows of train; expected one',
        ),
        ([1.0, None, None], "regression", r'rows.csv:3: the target "y" has no value, as in 2 of 3 rows'),
        (
            ["a", "a"],
            "classification",
            r'rows.csv: all 2 rows of train have the class "a" in "y"; expected at least two',
        ),
        ([7.0, 7.0], "regression", r'rows.csv: the target "y" is 7 in all 2 rows of train; expected different numbers'),
        (["1", "2", "x"], "regression", r'rows.csv:4: column "y" has "x"; expected a finite number'),
        (["1", "2", "inf"], "regression", r'rows.csv:4: column "y" has "inf"; expected a finite number'),
    ],
)
def test_targets_that_cannot_be_learned_are_refused(cells, task, message):
    with pytest.raises(DataError, match=message):
        Target.learn(table(y=cells), ["y"], task, True)


def test_a_class_that_train_does_not_have_is_refused_with_the_nearest_one():
    target = Target.learn(table(y=["setosa", "virginica"]), ["y"], "classification", True)
    message = r'rows.csv:3: the class "setoza" never occurs in train, as in 1 rows of test; .* Did you mean "setosa"\?'

    with pytest.raises(DataError, match=message):
        target.encode(table(y=["setosa", "setoza"]), "test")
