"""Run a recurrent network of torch over sequences of different lengths.

Axes: B sequences, T positions of the longest, D features, H hidden units of all directions together.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LAYERS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
#: Longer sequences are not packed on a CPU, where the time of the backward pass of packed ones grows with the square of
#: the length: for an LSTM (GRU) of 100 units, a step takes 2.6 (1.4) times that of unpacked ones at 64, 4.4 (2.3) times
#: at 128.
LONG = 32


def hidden_states(network: nn.RNNBase, features: Tensor, lengths: Tensor) -> Tensor:
    """Map features (B, T, D), lengths (B,) on the CPU to hidden states (B, T, H); those of the padding are zero."""
    exporting = torch.compiler.is_exporting()  # what is exported cannot branch on lengths
    if not exporting and (lengths == features.size(1)).all():  # packing costs 40 % and is not needed
        hidden: Tensor = network(features)[0]
        return hidden
    if not exporting and features.device.type == "cpu" and features.size(1) > LONG:
        return _unpacked(network, features, lengths)
    # Packed, since the backward direction would otherwise start in the padding. Sorted here, since torch's own sorting
    # (enforce_sorted=False) makes the host wait for a GPU twice.
    ordered, order = lengths.sort(descending=True)
    rows, back = (each.to(features.device, non_blocking=True) for each in (order, order.argsort()))
    packed = pack_padded_sequence(features.index_select(0, rows), ordered, batch_first=True)
    hidden, _ = pad_packed_sequence(network(packed)[0], batch_first=True, total_length=features.size(1))
    return hidden.index_select(0, back)


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
