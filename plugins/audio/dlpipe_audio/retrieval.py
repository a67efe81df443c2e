"""How well similarities rank what belongs together.

Axes: Q queries, N candidates, P pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cosines(vectors: Tensor) -> Tensor:
    """Return the cosine (N, N) of each pair of vectors (N, V)."""
    unit = F.normalize(vectors.float(), dim=1)
    return unit @ unit.T


def average_precision(scores: Tensor, relevant: Tensor) -> float:
    """Return the average precision of ranking by scores (P,), highest first; `relevant` (P,) bool."""
    return float(mean_average_precision(scores.unsqueeze(0), relevant.unsqueeze(0), torch.ones_like(relevant)[None]))


def mean_average_precision(scores: Tensor, relevant: Tensor, candidates: Tensor) -> Tensor:
    """Return the mean over all queries of the average precision of their rankings; NaN if none has an answer.

    Args:
        scores: (Q, N), the higher the nearer.
        relevant: (Q, N) bool, the right answers.
        candidates: (Q, N) bool, what is ranked.
    """
    ranked = _ranked(scores, relevant & candidates, candidates)
    ranks = torch.arange(1, ranked.size(1) + 1)
    precision = ranked.cumsum(1) / ranks
    found = ranked.sum(1)
    return ((precision * ranked).sum(1) / found)[found > 0].mean()


def precision_at(count: int, scores: Tensor, relevant: Tensor, candidates: Tensor) -> Tensor:
    """Return the right answers among the first `count`, as a share of `count`, or of all right ones if there are fewer.

    It is the mean over the queries that have a right answer; the arguments are those of `mean_average_precision`.
    """
    ranked = _ranked(scores, relevant & candidates, candidates)
    possible = ranked.sum(1).clamp_max(count)
    return (ranked[:, :count].sum(1) / possible)[possible > 0].mean()


def _ranked(scores: Tensor, relevant: Tensor, candidates: Tensor) -> Tensor:
    """Return which answer (Q, N) at each rank is right, as numbers."""
    order = scores.double().masked_fill(~candidates, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return relevant.gather(1, order).double()
