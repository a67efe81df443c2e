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
    inputs = frames
    if (lengths != frames.size(1)).any():
        # Packed, since the backward direction would otherwise start in the padding, and the last state come after it.
        inputs = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    state = network(inputs)[1]
    hidden: Tensor = state[0] if isinstance(state, tuple) else state  # (layers × directions, B, H / directions)
    return torch.cat(list(hidden[-2 if network.bidirectional else -1 :]), dim=1)
