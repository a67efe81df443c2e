from typing import ClassVar

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from sklearn.utils.class_weight import compute_class_weight
from torch.testing import assert_close
from torch.utils.data import Dataset, IterableDataset

from dlpipe.data.columns import Columns, Ragged
from dlpipe.data.targets import IGNORE_INDEX
from dlpipe.errors import InputError
from dlpipe.training.class_weights import ClassWeights, Sampling, class_weights, example_weights

TARGETS = [0, 1, 1, 2, 1, 0, 1]


class Classes:
    facts: ClassVar = {"labels": ["ant", "bee", "cat"]}

    def __init__(self, targets):
        self._targets = targets

    def split(self, name):
        assert name == "train"
        return Columns({"points": torch.zeros(len(self._targets), 2), "targets": self._targets})


def animals(targets=TARGETS):
    return Classes(torch.tensor(targets))


def test_balanced_weights_are_those_of_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=np.array(TARGETS))

    assert_close(
        class_weights("class_weights", "balanced", animals()).double(), torch.tensor(expected), rtol=1e-6, atol=0
    )


def test_what_has_no_class_does_not_count():
    lengths = torch.tensor([4, 5])
    tokens = torch.tensor([0, 1, IGNORE_INDEX, 1, 2, 1, 0, IGNORE_INDEX, 1])

    found = class_weights("class_weights", "balanced", Classes(Ragged(tokens, lengths, padding=IGNORE_INDEX)))

    assert_close(found, class_weights("class_weights", "balanced", animals()))


def test_classes_that_are_not_named_have_the_weight_1():
    assert class_weights("class_weights", {"cat": 2.5}, animals()).tolist() == [1.0, 1.0, 2.5]


def test_an_example_has_the_weight_of_its_class():
    assert example_weights("sampling", {"ant": 3.0, "cat": 0.5}, animals()).tolist() == [3, 1, 1, 0.5, 1, 3, 1]


@pytest.mark.parametrize(
    ("wanted", "targets", "message"),
    [
        ({"bea": 2.0}, TARGETS, r'class_weights = \{"bea": 2.0\}: the data has no class "bea"\. Did you mean "bee"\?'),
        ("balanced", [0, 1], 'class_weights = "balanced": the training split has no example of cat, whose weight'),
        ("balanced", [0.5, 1.5], 'class_weights = "balanced": the training split has no classes that could be counted'),
    ],
)
def test_weights_that_cannot_be_known_are_refused(wanted, targets, message):
    with pytest.raises(InputError, match=message):
        class_weights("class_weights", wanted, animals(targets))


def test_examples_without_exactly_one_class_have_no_weight():
    tokens = Ragged(torch.tensor(TARGETS), torch.tensor([3, 4]), padding=IGNORE_INDEX)

    with pytest.raises(InputError, match='sampling = "balanced": each example of this data has several targets'):
        example_weights("sampling", "balanced", Classes(tokens))
    with pytest.raises(InputError, match='sampling = "balanced": some training examples have no class'):
        example_weights("sampling", "balanced", animals([*TARGETS, IGNORE_INDEX]))


class Weighed(Classes):
    """Data with a column of weights, or a stream."""

    def __init__(self, split):
        self._split = split

    def split(self, name):
        return self._split


class Files(Dataset):
    """Examples that are read one by one; their weights are known before."""

    sample_weights = torch.tensor([2.0, 0.5])


class Stream(IterableDataset):
    sample_weights = torch.tensor([2.0, 0.5])

    def __iter__(self):
        return iter(())


def weighed(weights):
    return Weighed(Columns({"targets": torch.zeros(len(weights)), "sample_weights": torch.tensor(weights)}))


def test_examples_may_have_weights_of_their_own():
    assert example_weights("sampling", "sample_weights", weighed([0.0, 2.5, 1.0])).tolist() == [0.0, 2.5, 1.0]
    assert example_weights("sampling", "sample_weights", Weighed(Files())).tolist() == [2.0, 0.5]
    assert example_weights("sampling", "uniform", animals()) is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (animals(), 'sampling = "sample_weights": the training split has no column "sample_weights" in memory'),
        (Weighed(Stream()), "expected data that has it .* no stream"),
        (weighed([1.0, -2.0]), r"example 1 has the weight -2\.0; expected 0 or more"),
        (weighed([1.0, float("nan")]), "example 1 has the weight nan; expected 0 or more"),
        (weighed([0.0, 0.0]), "all 2 examples have the weight 0; expected one above 0"),
    ],
)
def test_weights_from_which_nothing_can_be_drawn_are_refused(data, message):
    with pytest.raises(InputError, match=message):
        example_weights("sampling", "sample_weights", data)


@pytest.mark.parametrize(
    "given", [{}, {"ant": 0.0}, {"ant": -1.0}, {"ant": float("inf")}, {"ant": float("nan")}, "even"]
)
@pytest.mark.parametrize("kind", [ClassWeights, Sampling])
def test_a_table_without_effect_and_weights_that_are_no_numbers_above_0_are_refused(kind, given):
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(given)
