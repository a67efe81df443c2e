from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe import recurrent
from dlpipe.recurrent import hidden_states, last_state, recurrent_layers

LENGTHS = torch.tensor([4, 9, 1, 6])


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm", "irnn"])
def test_long_sequences_have_the_states_and_gradients_of_packed_ones(monkeypatch, cell, bidirectional, num_layers):
    torch.manual_seed(0)
    options = {"bidirectional": bidirectional, "num_layers": num_layers}
    if cell == "irnn":
        network = nn.RNN(3, 5, nonlinearity="relu", batch_first=True, **options)
    else:
        network = recurrent_layers(cell, 3, 5, **options)
    features, found = torch.randn(4, 9, 3), []
    packed = recurrent.pack_padded_sequence
    calls = []
    monkeypatch.setattr(recurrent, "pack_padded_sequence", lambda *a, **k: calls.append(1) or packed(*a, **k))

    for long in (9, 8):
        monkeypatch.setattr(recurrent, "LONG", long)
        hidden = hidden_states(network, features, LENGTHS)
        gradients = torch.autograd.grad(hidden.square().sum(), list(network.parameters()))
        found.append((hidden, *gradients))

    assert len(calls) == 1  # the second one was not packed
    for packed_one, unpacked in zip(*found, strict=True):
        assert_close(unpacked, packed_one)


@pytest.mark.parametrize("long", [2, 99])
def test_a_single_layer_has_no_dropout(monkeypatch, long):
    monkeypatch.setattr(recurrent, "LONG", long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that a single layer uses no dropout
        network = nn.GRU(3, 5, 1, batch_first=True, dropout=0.5)
    features = torch.randn(4, 9, 3)

    first, second = (hidden_states(network, features, LENGTHS) for _ in range(2))

    assert torch.equal(first, second)


def test_dropout_between_layers_of_long_sequences_scales_what_it_keeps(monkeypatch):
    monkeypatch.setattr(recurrent, "LONG", 2)
    network, dropped = nn.GRU(3, 500, 3, batch_first=True, dropout=0.25), []
    dropout = F.dropout
    monkeypatch.setattr(F, "dropout", lambda *given: dropped.append((given[0], dropout(*given))) or dropped[-1][1])

    hidden_states(network, torch.randn(4, 9, 3), LENGTHS)

    assert len(dropped) == 2  # between three layers, and neither before nor after them
    for before, after in dropped:
        assert abs((after == 0).float().mean() - 0.25) < 0.02
        assert_close(after[after != 0], before[after != 0] / 0.75)


def test_layers_of_long_sequences_have_dropout_between_them_in_training(monkeypatch):
    monkeypatch.setattr(recurrent, "LONG", 2)
    network = nn.GRU(3, 5, 2, batch_first=True, dropout=0.5)
    features = torch.randn(4, 9, 3)

    first, second = (hidden_states(network, features, LENGTHS) for _ in range(2))
    network.eval()
    third, fourth = (hidden_states(network, features, LENGTHS) for _ in range(2))

    assert not torch.equal(first, second)
    assert torch.equal(third, fourth)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_the_last_state_is_that_after_the_last_position_of_each_sequence(cell, bidirectional):
    network = recurrent_layers(cell, 3, 5, 2, bidirectional=bidirectional)
    features = torch.randn(4, 9, 3)

    found = last_state(network, features, LENGTHS)

    for row, length in enumerate(LENGTHS.tolist()):
        alone = features[row : row + 1, :length]
        assert_close(found[row : row + 1], last_state(network, alone, torch.tensor([length])))
        hidden = network(alone)[0]
        assert_close(found[row, :5], hidden[0, -1, :5])
        if bidirectional:
            assert_close(found[row, 5:], hidden[0, 0, 5:])


@pytest.mark.parametrize(
    "network", [nn.GRU(3, 5, batch_first=True, bias=False), nn.LSTM(3, 5, batch_first=True, proj_size=2)]
)
def test_long_sequences_of_networks_with_other_weights_are_packed(monkeypatch, network):
    monkeypatch.setattr(recurrent, "LONG", 2)
    features = torch.randn(4, 9, 3)

    hidden = hidden_states(network, features, LENGTHS)

    for row, length in enumerate(LENGTHS.tolist()):
        assert_close(hidden[row, :length], network(features[row : row + 1, :length])[0][0])


def test_one_layer_has_no_dropout_between_layers():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert recurrent_layers("gru", 3, 5, dropout=0.5).dropout == 0.0

    assert recurrent_layers("gru", 3, 5, 2, dropout=0.5).dropout == 0.5
