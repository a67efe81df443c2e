"""Attention: which positions of a sequence matter for a query.

Axes: B sequences, S positions of the longest, Q queries, D numbers of a query, M numbers of a position, A numbers of a
key.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn


class Memory(NamedTuple):
    """A sequence that can be attended to: values (B, S, M), their keys (B, S, A or D), which are real (B, S)."""

    values: Tensor
    keys: Tensor
    mask: Tensor


class Attention(nn.Module):
    """Weight the positions of a sequence by a score between each of them and a query.

    Args:
        score: "additive" is v·tanh(W q + U m), Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473, appendix A.1.2;
            "multiplicative" is q·W m / √D, Luong et al. 2015, https://aclanthology.org/D15-1166, section 3.1
            ("general"), scaled as in Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.1.
        query_dim: D.
        memory_dim: M.
        hidden_dim: A, of the additive score.
    """

    def __init__(
        self, score: Literal["additive", "multiplicative"], query_dim: int, memory_dim: int, hidden_dim: int
    ) -> None:
        super().__init__()
        is_additive = score == "additive"
        self.key = nn.Linear(memory_dim, hidden_dim if is_additive else query_dim, bias=False)
        self.query = nn.Linear(query_dim, hidden_dim) if is_additive else None
        self.score = nn.Linear(hidden_dim, 1, bias=False) if is_additive else None

    def memory(self, values: Tensor, mask: Tensor) -> Memory:
        """Return what `forward` attends to, of values (B, S, M) and which of them are real (B, S)."""
        return Memory(values, self.key(values), mask)

    def forward(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Map queries (B, Q, D) to the weighted means (B, Q, M), and the weights (B, Q, S), which sum to 1."""
        if self.query is None or self.score is None:
            # Otherwise the weights of wide layers are 0 and 1 from the beginning, and without gradients.
            scores = queries @ memory.keys.transpose(1, 2) / queries.size(2) ** 0.5
        else:
            scores = self.score((self.query(queries).unsqueeze(2) + memory.keys.unsqueeze(1)).tanh())[..., 0]
        scores = scores.float().masked_fill(~memory.mask.unsqueeze(1), -torch.inf)
        weights = scores.softmax(2)
        return weights.to(memory.values.dtype) @ memory.values, weights
