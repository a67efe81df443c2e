from __future__ import annotations

import pytest
import torch

from dlpipe_audio.retrieval import average_precision, mean_average_precision, precision_at


def test_average_precision_is_that_of_the_textbook():
    # Right answers at ranks 1, 3 and 6: (1/1 + 2/3 + 3/6) / 3.
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    relevant = torch.tensor([True, False, True, False, False, True])

    assert average_precision(scores, relevant) == pytest.approx((1 + 2 / 3 + 3 / 6) / 3)


@pytest.mark.parametrize("different", [10**7, 30, 1])
def test_average_precision_agrees_with_scikit_learn(different):
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    scores = (torch.rand(200, generator=generator) * different).floor()
    relevant = torch.rand(200, generator=generator) < 0.2

    assert average_precision(scores, relevant) == pytest.approx(metrics.average_precision_score(relevant, scores))


def test_the_precision_of_the_first_answers_is_a_share_of_the_right_ones_if_these_are_fewer():
    scores, everything = torch.tensor([[0.9, 0.8, 0.7, 0.6]]), torch.ones(1, 4, dtype=torch.bool)

    found = [
        float(precision_at(3, scores, torch.tensor([relevant]), everything))
        for relevant in ([True, False, False, True], [False, True, True, True])
    ]

    assert found == [1 / 2, pytest.approx(2 / 3)]


def test_the_order_of_equal_scores_does_not_count():
    scores, everything = torch.tensor([[0.5, 0.9, 0.5, 0.5, 0.1]]), torch.ones(1, 5, dtype=torch.bool)

    for relevant in ([True, True, False, False, True], [False, True, False, True, True]):
        found = torch.tensor([relevant])

        assert float(mean_average_precision(scores, found, everything)) == pytest.approx((1 / 1 + 2 / 4 + 3 / 5) / 3)
        shares = [float(precision_at(count, scores, found, everything)) for count in (1, 2, 3, 4, 5)]
        assert shares == pytest.approx([1, (1 + 1 / 3) / 2, (1 + 2 / 3) / 3, 2 / 3, 1])


def test_only_candidates_are_ranked_and_queries_without_an_answer_do_not_count():
    scores = torch.tensor([[0.9, 0.8, 0.7], [0.1, 0.2, 0.3]])
    relevant = torch.tensor([[True, False, True], [True, False, False]])
    candidates = torch.tensor([[False, True, True], [False, True, True]])

    assert float(mean_average_precision(scores, relevant, candidates)) == 0.5
    assert float(precision_at(1, scores, relevant, candidates)) == 0.0
    assert float(precision_at(10, scores, relevant, candidates)) == 1.0
