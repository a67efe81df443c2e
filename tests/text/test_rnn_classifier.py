from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_text.pooling import Pooling
from dlpipe_text.rnn_classifier import RNNClassifier

POOLINGS = ("last", "mean", "max", "max_mean", "attention")
TOKENS, LENGTHS = torch.tensor([[4, 9, 2, 5, 3], [7, 3, 0, 0, 0]]), torch.tensor([5, 2])

VOCABULARY = ["<pad>", "<other>", *"abcdefghi"]


def tiny(**options) -> RNNClassifier:
    torch.manual_seed(0)
    return RNNClassifier(VOCABULARY, 3, embed_dim=4, hidden_dim=6, **options)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_padding_does_not_change_the_scores(cell, bidirectional, pooling):
    model = tiny(cell=cell, bidirectional=bidirectional, pooling=pooling, num_layers=2).eval()

    logits = model(TOKENS, LENGTHS)
    padded = model(F.pad(TOKENS, (0, 3)), LENGTHS)
    alone = model(TOKENS[1:, :2], LENGTHS[1:])

    assert logits.shape == (2, 3)
    assert_close(padded, logits)
    assert_close(alone, logits[1:])


def test_pooling_by_hand():
    hidden = torch.tensor([[[1.0, 5.0], [3.0, 2.0], [100.0, 100.0]]])  # one direction each; the last is padding
    length = torch.tensor([2])

    assert Pooling("last", 1, 2, 1)(hidden, length).tolist() == [[3.0, 5.0]]
    assert Pooling("mean", 1, 2, 1)(hidden, length).tolist() == [[2.0, 3.5]]
    assert Pooling("max", 1, 2, 1)(hidden, length).tolist() == [[3.0, 5.0]]
    assert Pooling("max_mean", 1, 2, 1)(hidden, length).tolist() == [[3.0, 5.0, 2.0, 3.5]]


def test_the_maximum_of_negative_states_is_not_the_zero_of_the_padding():
    hidden = torch.tensor([[[-1.0], [-2.0], [0.0]]])

    assert Pooling("max", 1, 1, 1)(hidden, torch.tensor([2])).tolist() == [[-1.0]]


def test_attention_by_hand():
    pool = Pooling("attention", 1, 1, 1)
    for parameter, value in zip(pool.parameters(), (2.0, 0.5, 3.0), strict=True):  # W, b, v
        torch.nn.init.constant_(parameter, value)
    hidden = torch.tensor([[[0.1], [-0.4], [9.0]]])

    pooled = pool(hidden, torch.tensor([2]))

    scores = 3 * torch.tanh(torch.tensor([2 * 0.1 + 0.5, 2 * -0.4 + 0.5]))
    weights = scores.exp() / scores.exp().sum()
    assert_close(pooled, (weights @ torch.tensor([0.1, -0.4])).reshape(1, 1))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_reach_every_parameter(pooling):
    model = tiny(pooling=pooling, dropout=0.0)

    model(TOKENS, LENGTHS).logsumexp(1).sum().backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    assert model.embed.embed.weight.grad[0].abs().sum() == 0


def test_word_dropout_replaces_units_in_training_only_and_never_the_padding():
    model = tiny(word_dropout=0.999, dropout=0.0)
    others = TOKENS.clamp(max=1)

    with torch.no_grad():
        assert_close(model(TOKENS, LENGTHS), model(others, LENGTHS))
        assert not torch.equal(model.eval()(TOKENS, LENGTHS), model(others, LENGTHS))


def test_it_learns_a_batch_by_heart():
    model = tiny(dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    targets = torch.tensor([2, 0])

    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(TOKENS, LENGTHS), targets).backward()
        optimizer.step()

    assert model.eval()(TOKENS, LENGTHS).argmax(1).tolist() == [2, 0]


def test_deep_networks_have_dropout_between_their_layers():
    """Dropout of the layer before and after the recurrent network is left out here."""
    for num_layers in (1, 2):
        model = tiny(cell="gru", num_layers=num_layers, dropout=0.5, word_dropout=0.0)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

        first, second = model(TOKENS, LENGTHS), model(TOKENS, LENGTHS)

        assert torch.equal(first, second) == (num_layers == 1)
