"""What is said of the splits before training."""

from __future__ import annotations

import pytest
import torch

from dlpipe.data import Columns, Ragged
from dlpipe.data.split_report import split_report


class Splits:
    """Made-up data: the columns of each split."""

    def __init__(self, columns, **facts):
        self.columns, self.facts, self.splits = columns, facts, tuple(columns)

    def split(self, name):
        return Columns(self.columns[name])


def points(rows, targets=None):
    columns = {"points": torch.tensor(rows, dtype=torch.float32).view(-1, 1)}
    return columns | ({} if targets is None else {"targets": torch.tensor(targets)})


def warnings_of(*args, **facts):
    return split_report(Splits(*args, **facts))[1]


def test_a_label_that_nobody_would_see_is_in_quotes():
    data = Splits({"train": points([1, 2, 3], [0, 1, 2])}, labels=[" ", "a", ""])

    assert split_report(data)[0] == ['train by class: " " (1), a (1), "" (1)']


def test_the_examples_of_each_class_are_counted_for_each_split():
    data = Splits({"train": points([1, 2, 3], [0, 1, 1]), "test": points([4, 5], [1, 0])}, labels=["cat", "dog"])

    assert split_report(data) == (["train by class: cat (1), dog (2)", "test by class: cat (1), dog (1)"], [])


def test_of_many_classes_the_rarest_and_the_commonest_are_named():
    targets = Ragged(torch.tensor([0, 0, 0, 5, 7, 7, -100]), torch.tensor([3, 4]), padding=-100)
    data = Splits({"train": {"targets": targets}}, labels=[f"c{number}" for number in range(25)])

    assert split_report(data) == (
        ["train by class: 3 of 25 classes, from c5 (1) to c0 (3); without c1, c2, c3, c4, c6 and 17 more"],
        [],
    )


def test_data_without_classes_is_not_counted():
    assert split_report(Splits({"train": points([1, 2]), "test": points([3])})) == ([], [])
    assert split_report(Splits({"train": points([1, 2], [0.5, 1.5])}, num_classes=2)) == ([], [])
    assert split_report(Splits({"train": points([1, 2], [[0, 1], [1, 1]])}, num_classes=2)) == ([], [])
    assert split_report(Splits({"train": points([1, 2], [False, True])}, num_classes=2)) == (
        ["train by class: 0 (1), 1 (1)"],
        [],
    )


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 0, 0], [0, 1], 'all targets of train are "cat"; there is nothing to learn with one class'),
        ([0, 1, 0], [0, 1], "train has no example of owl; the model cannot learn such a class: add examples"),
        ([0, 1, 2], [0, 0], "test has no example of dog, owl; its scores do not cover such a class"),
    ],
)
def test_missing_classes_are_named(train, test, message):
    found = warnings_of({"train": points([1, 2, 3], train), "test": points([4, 5], test)}, labels=["cat", "dog", "owl"])

    assert any(text.startswith(message) for text in found)


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ([1, 9, 2, 8, 7], ["2 of 5 examples of test also occur in train (exact copies)"]),
        ([3, 1], ["all 2 examples of test also occur in train: is the same file used for both?"]),
        ([4, 5], []),
    ],
)
def test_copies_in_two_splits_are_counted_whatever_their_targets(test, expected):
    splits = {"train": points([1, 2, 3], [0, 1, 0]), "test": points(test, [number % 2 for number in range(len(test))])}

    assert warnings_of(splits, num_classes=2) == expected


def test_copies_of_sequences_have_the_same_length():
    def column(*rows):
        return Ragged(torch.tensor([value for row in rows for value in row]), torch.tensor([len(row) for row in rows]))

    splits = {"train": {"tokens": column([1, 2], [3])}, "dev": {"tokens": column([1], [2, 3], [3])}}

    assert warnings_of(splits) == ["1 of 3 examples of dev also occur in train (exact copies)"]


def test_data_that_knows_better_says_which_examples_are_copies():
    class Pictures(Splits):
        def copies(self, split, other):
            exact = torch.tensor([True, False, False, False])
            return exact, torch.tensor([True, False, True, True]) if split == "test" else exact

    data = Pictures({"train": points([1]), "test": points([1, 2, 3, 4])})

    assert split_report(data)[1] == ["1 of 4 examples of test also occur in train (exact copies), 2 more nearly so"]


def test_weights_of_examples_do_not_hide_copies():
    train = points([1, 2, 3]) | {"sample_weights": torch.tensor([0.5, 1.0, 2.0])}

    assert warnings_of({"train": train, "test": points([9, 3])}) == [
        "1 of 2 examples of test also occur in train (exact copies)"
    ]
