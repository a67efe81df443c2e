"""Recurrent keyword classifier: which word of a list a recording says.

Source: Sun et al. 2016, "Max-pooling Loss Training of Long Short-Term Memory Networks for Small-Footprint Keyword
Spotting", https://arxiv.org/abs/1705.02411, for the use of LSTMs.
Departs from it: whole words, classified from the last states of both directions, and cross-entropy.
Axes: B words, T frames of the longest, F numbers per frame, H hidden units, K words of the list.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from dlpipe.fields import OpenFraction, Positive
from dlpipe.recurrent import last_state, recurrent_layers


class KeywordRNN(nn.Module):
    """Score K words from the last hidden states of a recurrent network.

    Args:
        num_features: F.
        num_classes: K.
        cell: kind of recurrent network.
        bidirectional: also read each word backward.
        num_layers: stacked recurrent layers.
        hidden_dim: H, units per direction and layer.
        dropout: probability of zeroing, on the outputs of every layer.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        cell: Literal["gru", "lstm"] = "lstm",
        bidirectional: bool = True,
        num_layers: Positive = 1,
        hidden_dim: Positive = 64,
        dropout: OpenFraction = 0.3,
    ) -> None:
        super().__init__()
        self.recurrent = recurrent_layers(
            cell, num_features, hidden_dim, num_layers, bidirectional=bidirectional, dropout=dropout
        )
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear((1 + bidirectional) * hidden_dim, num_classes)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Map frames (B, T, F), lengths (B,) on the CPU to logits (B, K)."""
        logits: Tensor = self.classify(self.dropout(last_state(self.recurrent, frames, lengths)))
        return logits
