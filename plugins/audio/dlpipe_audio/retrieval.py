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

    Answers with equal scores are found together, as with a threshold (scikit-learn): their order does not count.

    Args:
        scores: (Q, N), the higher the nearer.
        relevant: (Q, N) bool, the right answers.
        candidates: (Q, N) bool, what is ranked.
    """
    answers, right = _by_score(scores, relevant & candidates, candidates)
    precision = right.cumsum(1) / answers.cumsum(1)
    found = right.sum(1)
    return ((precision * right).sum(1) / found)[found > 0].mean()


def precision_at(count: int, scores: Tensor, relevant: Tensor, candidates: Tensor) -> Tensor:
    """Return the right answers among the first `count`, as a share of `count`, or of all right ones if there are fewer.

    It is the mean over the queries that have a right answer; the arguments are those of `mean_average_precision`. Of
    answers with equal scores, it is the expected value over their orders.
    """
    answers, right = _by_score(scores, relevant & candidates, candidates)
    before = answers.cumsum(1) - answers
    taken = (count - before).clamp_min(0).minimum(answers) / answers.clamp_min(1)
    possible = right.sum(1).clamp_max(count)
    return ((taken * right).sum(1) / possible)[possible > 0].mean()


def _by_score(scores: Tensor, relevant: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many answers (Q, N) have the highest score, the second highest and so on, and how many are right."""
    ordered, order = scores.double().masked_fill(~candidates, -torch.inf).sort(dim=1, descending=True)
    place = F.pad((ordered[:, 1:] != ordered[:, :-1]).long(), (1, 0)).cumsum(1)  # of each score, from 0
    none = torch.zeros_like(ordered)
    right = relevant.gather(1, order).double()
    return none.scatter_add(1, place, torch.ones_like(ordered)), none.scatter_add(1, place, right)
