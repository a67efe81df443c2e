"""The names of splits, in any case and with the usual endings."""

from __future__ import annotations

import pytest

from dlpipe.data import split_named


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["train", "Train", "TRAINING", "trn", "train_set", "training-data", "trainset", "Train Set"]),
        ("dev", ["dev", "Val", "valid", "validation", "development_set", "ValidationSplit"]),
        ("test", ["test", "Testing", "TEST_SET", "testset", "tst", "test_data"]),
        (None, ["", "trained", "testament", "valley", "developer", "train2", "my_test", "set", "contest", "tests"]),
    ],
)
def test_a_split_is_known_by_its_common_names(split, names):
    assert {split_named(name) for name in names} == {split}
