from __future__ import annotations

import pytest

from dlpipe_text.flights import flights


@pytest.mark.filterwarnings("ignore:.*never occur in the training split")
def test_the_splits_have_the_requested_sizes():
    data = flights(num_train=7, num_dev=5, num_test=3)

    assert {split: len(data.split(split)) for split in data.splits} == {"train": 7, "dev": 5, "test": 3}


def test_different_seeds_give_different_sentences():
    assert list(flights(num_train=7, seed=1).sentences("train")) != list(
        flights(num_train=7, seed=2).sentences("train")
    )
    assert list(flights(num_train=7, seed=1).sentences("train")) == list(
        flights(num_train=7, seed=1).sentences("train")
    )
