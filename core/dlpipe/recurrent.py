"""Run a recurrent network of torch over sequences of different lengths.

Axes: B sequences, T positions of the longest, D features, H hidden units of all directions together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

__all__ = ["hidden_states", "last_state", "recurrent_layers"]

_LAYERS: dict[str, type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]] = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
#: Longer sequences are not packed on a CPU, where the time of the backward pass of packed ones grows with the square of
#: the length: for an LSTM (GRU) of 100 units, a step takes 2.6 (1.4) times that of unpacked ones at 64, 4.4 (2.3) times
#: at 128.
LONG = 32


def recurrent_layers(
    cell: Literal["elman", "gru", "lstm"],
    num_inputs: int,
    hidden_dim: int,
    num_layers: int = 1,
    *,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> nn.RNNBase:
    """Return stacked recurrent layers of torch, batch first.

    Args:
        cell: kind of network.
        num_inputs: D.
        hidden_dim: units per direction and layer.
        num_layers: how many are stacked.
        bidirectional: also read each sequence backward.
        dropout: probability of zeroing, between two layers.
    """
    between = dropout if num_layers > 1 else 0.0  # torch warns of one that has no effect
    return _LAYERS[cell](
        num_inputs, hidden_dim, num_layers, batch_first=True, dropout=between, bidirectional=bidirectional
    )


def hidden_states(network: nn.RNNBase, features: Tensor, lengths: Tensor) -> Tensor:
    """Map features (B, T, D), lengths (B,) on the CPU to hidden states (B, T, H); those of the padding are zero.

    Args:
        network: batch first, as `recurrent_layers` makes it.
    """
    exporting = torch.compiler.is_exporting()  # what is exported cannot branch on lengths
    if not exporting and (lengths == features.size(1)).all():  # packing costs 40 % and is not needed
        hidden: Tensor = network(features)[0]
        return hidden
    if not exporting and features.device.type == "cpu" and features.size(1) > LONG and _is_plain(network):
        return _unpacked(network, features, lengths)
    packed, back = _packed(features, lengths)
    hidden, _ = pad_packed_sequence(network(packed)[0], batch_first=True, total_length=features.size(1))
    return hidden.index_select(0, back)


def last_state(network: nn.RNNBase, features: Tensor, lengths: Tensor) -> Tensor:
    """Map features (B, T, D), lengths (B,) on the CPU to the last hidden state (B, H) of the last layer."""
    if (
        not torch.compiler.is_exporting() and (lengths == features.size(1)).all()
    ):  # packing costs time and is not needed
        return _of_last_layer(network, network(features)[1])
    packed, back = _packed(features, lengths)  # the last state of a sequence would otherwise come after its padding
    return _of_last_layer(network, network(packed)[1]).index_select(0, back)


def _packed(features: Tensor, lengths: Tensor) -> tuple[PackedSequence, Tensor]:
    """Return packed sequences, whose backward direction does not start in the padding, and what restores their order.

    Sorted here, since torch's own sorting (enforce_sorted=False) makes the host wait for a GPU twice.
    """
    ordered, order = lengths.sort(descending=True)
    rows, back = (each.to(features.device, non_blocking=True) for each in (order, order.argsort()))
    return pack_padded_sequence(features.index_select(0, rows), ordered, batch_first=True), back


def _of_last_layer(network: nn.RNNBase, state: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return the last hidden state (B, H) of what a network returns as its state."""
    hidden: Tensor = state[0] if isinstance(state, tuple) else state  # (layers × directions, B, H / directions)
    return torch.cat(list(hidden[-2 if network.bidirectional else -1 :]), dim=1)


def _is_plain(network: nn.RNNBase) -> bool:
    """Whether it has all the weights, and no others, that `_unpacked` knows."""
    return network.bias and not network.proj_size


def _unpacked(network: nn.RNNBase, features: Tensor, lengths: Tensor) -> Tensor:
    """Return the same as for packed features: each direction reads forward, the second one the reversed sequences."""
    steps, ends = torch.arange(features.size(1)), lengths.unsqueeze(1)
    inside = steps < ends  # (B, T)
    backward = torch.where(inside, ends - 1 - steps, steps).unsqueeze(2)
    for layer in range(network.num_layers):
        if layer:
            features = F.dropout(features, network.dropout, network.training)
        hidden = [_direction(network, f"_l{layer}", features)]
        if network.bidirectional:
            turned = features.take_along_dim(backward, 1)
            hidden.append(_direction(network, f"_l{layer}_reverse", turned).take_along_dim(backward, 1))
        features = torch.cat(hidden, 2)
    return features * inside.unsqueeze(2)


def _direction(network: nn.RNNBase, suffix: str, features: Tensor) -> Tensor:
    """Map features (B, T, D) to the hidden states of one direction of one layer, from the first position on."""
    kind = {"nonlinearity": network.nonlinearity} if isinstance(network, nn.RNN) else {}
    layer: Callable[..., nn.RNNBase] = type(network)
    single = layer(features.size(2), network.hidden_size, batch_first=True, device="meta", **kind)
    weights = {
        f"{name}_l0": getattr(network, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    hidden: Tensor = functional_call(single, weights, features)[0]
    return hidden
