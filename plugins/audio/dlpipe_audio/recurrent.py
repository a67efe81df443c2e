"""The last state of a recurrent network of torch, for sequences of different lengths.

Axes: B sequences, T frames of the longest, F numbers per frame, H hidden units of all directions together.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

Cell = Literal["gru", "lstm"]
LAYERS: dict[Cell, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


def last_state(network: nn.RNNBase, frames: Tensor, lengths: Tensor) -> Tensor:
    """Map frames (B, T, F), lengths (B,) on the CPU to the last hidden state (B, H) of the last layer."""
    if not torch.compiler.is_exporting() and (lengths == frames.size(1)).all():  # packing costs time and is not needed
        return _of_last_layer(network, network(frames)[1])
    # Packed, since the backward direction would otherwise start in the padding, and the last state come after it.
    # Sorted here, since torch's own sorting (enforce_sorted=False) makes the host wait for a GPU.
    ordered, order = lengths.sort(descending=True)
    rows, back = (each.to(frames.device, non_blocking=True) for each in (order, order.argsort()))
    packed = pack_padded_sequence(frames.index_select(0, rows), ordered, batch_first=True)
    return _of_last_layer(network, network(packed)[1]).index_select(0, back)


def _of_last_layer(network: nn.RNNBase, state: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return the last hidden state (B, H) of what a network returns as its state."""
    hidden: Tensor = state[0] if isinstance(state, tuple) else state  # (layers × directions, B, H / directions)
    return torch.cat(list(hidden[-2 if network.bidirectional else -1 :]), dim=1)
