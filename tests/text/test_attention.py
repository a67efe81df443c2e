from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from dlpipe_text.attention import Attention

SCORES = ["additive", "multiplicative"]


def tiny(score):
    torch.manual_seed(0)
    return Attention(score, query_dim=3, memory_dim=5, hidden_dim=4)


def inputs(length=7):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 6, 3, generator=generator), torch.randn(2, length, 5, generator=generator)


def test_the_scores_are_those_of_the_papers():
    queries, values = inputs()
    mask = torch.ones(2, 7, dtype=torch.bool)
    row, query = 1, 2
    for score in SCORES:
        layer = tiny(score)
        q, m = queries[row, query], values[row]
        if score == "additive":
            expected = torch.stack(
                [layer.score.weight[0] @ (layer.query(q) + layer.key.weight @ value).tanh() for value in m]
            )
        else:
            expected = torch.stack([q @ layer.key.weight @ value / 3**0.5 for value in m])

        means, weights = layer(queries, layer.memory(values, mask))

        assert_close(weights[row, query], expected.softmax(0))
        assert_close(means[row, query], expected.softmax(0) @ m)
        assert weights.shape == (2, 6, 7)


@pytest.mark.parametrize("score", SCORES)
def test_the_padding_gets_no_weight_and_changes_nothing(score):
    layer, (queries, values) = tiny(score), inputs()
    mask = torch.arange(7) < torch.tensor([[4], [7]])

    means, weights = layer(queries, layer.memory(values, mask))
    alone, of_alone = layer(queries[:1], layer.memory(values[:1, :4], mask[:1, :4]))

    assert (weights[0, :, 4:] == 0).all()
    assert_close(weights.sum(2), torch.ones(2, 6))
    assert_close(means[:1], alone)
    assert_close(weights[:1, :, :4], of_alone)
