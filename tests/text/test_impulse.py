from __future__ import annotations

import pytest
import torch

from dlpipe.data.split_report import split_report
from dlpipe.errors import InputError
from dlpipe_text.impulse import Impulse


def test_it_is_a_number_followed_by_zeros():
    columns = Impulse(length=4, value=0.5, target=0.7).split("train").columns

    assert columns["features"].tolist() == [[[0.5], [0.0], [0.0], [0.0]]]
    assert columns["targets"].tolist() == [pytest.approx(0.7)]


def test_nobody_is_warned_that_both_splits_are_the_one_sequence():
    assert split_report(Impulse()) == ([], [])


def test_an_item_is_another_number():
    data = Impulse(length=3)

    assert data.encode("-2")["features"].tolist() == [[-2.0], [0.0], [0.0]]
    assert data.present("-2", torch.tensor(0.25)) == {"output": 0.25}


@pytest.mark.parametrize("item", ["", "north", "nan", "1 2"])
def test_another_item_is_refused(item):
    with pytest.raises(InputError, match='expected a number, the first of the sequence, such as "0.5"'):
        Impulse().encode(item)
