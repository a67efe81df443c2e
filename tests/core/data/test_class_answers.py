"""What data answers about classes."""

from __future__ import annotations

import pytest
import torch

from dlpipe.data import class_answer, sequence_answer
from dlpipe.errors import InputError

LABELS = ["cat", "dog", "owl"]


def test_a_class_comes_with_its_probability_and_on_request_with_the_most_probable_ones():
    shares = torch.tensor([0.5, 0.2, 0.3])

    assert class_answer(LABELS, torch.tensor(2), shares) == {"label": "owl", "probability": 0.3}
    assert class_answer(LABELS, torch.tensor(2), shares, 2)["top"] == [
        {"label": "cat", "probability": 0.5},
        {"label": "owl", "probability": 0.3},
    ]


def test_without_probabilities_there_is_the_class_alone():
    assert class_answer(LABELS, torch.tensor(0), None) == {"label": "cat"}
    with pytest.raises(InputError, match="this model gives no probabilities: .*; leave out --top"):
        class_answer(LABELS, torch.tensor(0), None, 1)


def test_a_sequence_has_a_label_and_on_request_probabilities_for_each_position():
    shares = torch.tensor([[0.1, 0.7, 0.2], [0.4, 0.3, 0.3]])

    plain = sequence_answer(LABELS, torch.tensor([1, 2]), shares)
    asked = sequence_answer(LABELS, torch.tensor([1, 2]), shares, 1)

    assert plain == {"labels": ["dog", "owl"]}
    assert asked["probabilities"] == [0.7, 0.3]
    assert asked["top"] == [[{"label": "dog", "probability": 0.7}], [{"label": "cat", "probability": 0.4}]]


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (torch.tensor(3), "the model predicts 3; expected the number of one of 3 classes"),
        (torch.tensor(-1), "the model predicts -1; expected"),
        (torch.tensor(0.5), "the model predicts 0.5; expected"),
        (torch.zeros(2, 5), r"the model predicts torch.float32 of shape \(2, 5\); expected the number of one"),
    ],
)
def test_what_is_no_class_is_refused(prediction, message):
    with pytest.raises(InputError, match=message):
        class_answer(LABELS, prediction, None)


def test_probabilities_of_other_classes_are_refused():
    with pytest.raises(InputError, match=r"probabilities of shape \(2,\); expected \(3,\), those of the 3 classes"):
        class_answer(LABELS, torch.tensor(1), torch.ones(2))
    with pytest.raises(InputError, match=r"probabilities of shape \(2, 5\); expected \(2, 3\)"):
        sequence_answer(LABELS, torch.tensor([1, 0]), torch.ones(2, 5))
