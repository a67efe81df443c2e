"""How far apart two sets of features are.

Sources: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", https://arxiv.org/abs/1706.08500, eq. 6
(Fréchet); Binkowski et al. 2018, "Demystifying MMD GANs", https://arxiv.org/abs/1801.01401, section 4 (kernel);
Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric", https://arxiv.org/abs/1904.06991, eq. 1 and
2; Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics", https://arxiv.org/abs/2002.09797, eq. 9 (coverage).
Axes: N and M things, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the Fréchet distance of the normal distributions that fit features (N, F) and (M, F)."""
    first, second = first.double(), second.double()
    means = (first.mean(0) - second.mean(0)).square().sum()
    one, other = first.T.cov(), second.T.cov()
    # The trace of the root of a product is the sum of the roots of its eigenvalues; those of this one are real.
    root = _root(one)
    roots = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    return float(means + one.trace() + other.trace() - 2 * roots)


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """Return the squared distance of means under the kernel (x·y / F + 1)³ of features (N, F) and (M, F), unbiased."""
    first, second = first.double(), second.double()

    def kernel(one: Tensor, other: Tensor) -> Tensor:
        return (one @ other.T / one.size(1) + 1) ** 3

    def within(some: Tensor) -> Tensor:
        pairs = kernel(some, some)
        return (pairs.sum() - pairs.trace()) / (len(some) * (len(some) - 1))

    return float(within(first) + within(second) - 2 * kernel(first, second).mean())


def precision_and_recall(real: Tensor, drawn: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Return the share of drawn things that lie among the real ones, and of real ones that lie among the drawn."""
    return _share_among(drawn, real, neighbours), _share_among(real, drawn, neighbours)


def coverage(real: Tensor, drawn: Tensor, neighbours: int = 5) -> float:
    """Return the share of real things (N, F) that have a drawn one (M, F) nearer than their own k-th neighbour."""
    return float((torch.cdist(real, drawn).min(1).values <= _radii(real, neighbours)).double().mean())


def _share_among(things: Tensor, others: Tensor, neighbours: int) -> float:
    inside = torch.cdist(things, others) <= _radii(others, neighbours)
    return float(inside.any(1).double().mean())


def _radii(things: Tensor, neighbours: int) -> Tensor:
    """Return how far the k-th neighbour of each thing is (N,); the thing itself is none."""
    return torch.cdist(things, things).kthvalue(min(neighbours + 1, len(things)), dim=1).values


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
