"""Represent a text by one vector, from the hidden states of its units; padding has no influence.

Source of attention: Yang et al. 2016, "Hierarchical Attention Networks for Document Classification", section 2.2,
https://doi.org/10.18653/v1/N16-1174
Departs from it: one level, since the texts are sentences.
Axes: B texts, T units of the longest, H hidden units of all directions together.
"""

from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["last", "mean", "max", "max_mean", "attention"]


class Pooling(nn.Module):
    """Combine the hidden states of a text.

    Args:
        kind: "last" is the state after the last unit and, backward, after the first one; "mean" and "max" are those of
            each hidden unit over the text, "max_mean" is both side by side; "attention" is a mean whose weights are a
            softmax of ``v · tanh(W h + b)``.
        hidden_dim: hidden units per direction.
        num_hidden: H.
        attention_dim: rows of W.

    ``size`` is the length of the vector of a text: H, or 2 H for "max_mean".
    """

    def __init__(self, kind: Kind, hidden_dim: int, num_hidden: int, attention_dim: int) -> None:
        super().__init__()
        self.kind, self.hidden_dim = kind, hidden_dim
        self.size = 2 * num_hidden if kind == "max_mean" else num_hidden
        if kind == "attention":
            self.project = nn.Linear(num_hidden, attention_dim)
            self.score = nn.Linear(attention_dim, 1, bias=False)

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Map hidden states (B, T, H), lengths (B,) on the CPU to (B, size)."""
        if self.kind == "last":
            rows = torch.arange(len(hidden), device=hidden.device)
            forward = hidden[rows, lengths.to(hidden.device, non_blocking=True) - 1, : self.hidden_dim]
            return torch.cat([forward, hidden[:, 0, self.hidden_dim :]], dim=1)
        mask = mask_of(lengths, hidden).unsqueeze(2)  # (B, T, 1)
        if self.kind == "mean":
            return _mean(hidden, mask)
        if self.kind == "max":
            return _max(hidden, mask)
        if self.kind == "max_mean":
            return torch.cat([_max(hidden, mask), _mean(hidden, mask)], dim=1)
        scores = self.score(self.project(hidden).tanh())  # (B, T, 1)
        weights: Tensor = scores.masked_fill(~mask, -torch.inf).softmax(1)
        return (weights * hidden).sum(1)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    return (hidden * mask).sum(1) / mask.sum(1)


def _max(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(~mask, -torch.inf).amax(1)


def mask_of(lengths: Tensor, values: Tensor) -> Tensor:
    """Return (B, T) on the device of values (B, T, …), True at the units of a text, False at its padding."""
    steps = torch.arange(values.size(1), device=values.device)
    return steps < lengths.to(values.device, non_blocking=True).unsqueeze(1)
