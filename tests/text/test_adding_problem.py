from __future__ import annotations

import pytest
import torch

from dlpipe.errors import InputError
from dlpipe_text.adding_problem import AddingProblem


def test_the_target_is_the_sum_of_two_numbers_one_marked_in_each_half():
    data = AddingProblem(length=7, num_train=500)

    batch = data.split("train").batch(torch.arange(500))

    numbers, marks = batch["features"].unbind(2)
    assert numbers.shape == (500, 7)
    assert batch["lengths"].tolist() == [7] * 500
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert marks[:, :3].sum(1).tolist() == [1.0] * 500
    assert marks[:, 3:].sum(1).tolist() == [1.0] * 500
    assert (marks.sum(0) > 0).all()  # every position can be marked
    torch.testing.assert_close(batch["targets"], (numbers * marks).sum(1))


def test_always_answering_one_has_an_error_of_a_sixth():
    targets = AddingProblem(num_train=60_000, length=4).split("train").columns["targets"]

    assert float((targets - 1).square().mean()) == pytest.approx(1 / 6, abs=0.003)


def test_splits_differ_and_are_the_same_again():
    data, again = (AddingProblem(length=5, num_train=9, num_dev=9, num_test=9) for _ in "ab")
    splits = {name: data.split(name).columns["targets"] for name in data.splits}

    assert all(torch.equal(splits[name], again.split(name).columns["targets"]) for name in splits)
    assert not torch.equal(splits["train"], splits["dev"])
    assert not torch.equal(splits["dev"], splits["test"])
    other = AddingProblem(length=5, num_train=9, num_dev=9, num_test=9, seed=1)
    assert not torch.equal(splits["train"], other.split("train").columns["targets"])
    assert data.fingerprint() == again.fingerprint() != other.fingerprint()


def test_an_item_is_a_sequence_with_two_marks():
    data = AddingProblem()

    assert data.encode("0.5* 0.1 .25*")["features"].tolist() == [
        [0.5, 1.0],
        [torch.tensor(0.1).item(), 0.0],
        [0.25, 1.0],
    ]
    assert data.present("0.5* 0.1 .25*", torch.tensor(0.7)) == {"sum": 0.75, "predicted": 0.7}


@pytest.mark.parametrize("item", ["", "0.5 0.5", "0.5* 0.1", "0.5* 1.5*", "0.5* north*", "nan* 0.5*", "0.1* 0.2* 0.3*"])
def test_another_item_is_refused(item):
    with pytest.raises(
        InputError, match=r'expected numbers from 0 to 1, two of them marked, such as "0.5\* 0.1 0.25\*"'
    ):
        AddingProblem().encode(item)
