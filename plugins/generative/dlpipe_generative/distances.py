"""Distances between two sets of features.

Sources: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", https://arxiv.org/abs/1706.08500, eq. 6
(Fréchet); Binkowski et al. 2018, "Demystifying MMD GANs", https://arxiv.org/abs/1801.01401, section 4 (kernel);
Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric", https://arxiv.org/abs/1904.06991, eq. 1 and
2; Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics", https://arxiv.org/abs/2002.09797, eq. 9 (coverage);
Efron & Tibshirani 1993, "An Introduction to the Bootstrap", algorithm 6.1 (standard error), here within classes.
Axes: N and M samples, F features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Resamples of a bootstrap: the relative error of a standard error from as many is 1 / sqrt(2 * 49), a tenth.
RESAMPLES = 50


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the Fréchet distance between normal distributions fitted to features (N, F) and (M, F)."""
    first, second = first.double(), second.double()
    means = (first.mean(0) - second.mean(0)).square().sum()
    one, other = first.T.cov(), second.T.cov()
    # tr((A B)^½) is the sum of the singular values of A^½ B^½. Roots of the eigenvalues of a product would magnify
    # rounding errors, and with singular covariances the distance could become negative.
    roots = torch.linalg.svdvals(_root(one) @ _root(other)).sum()
    return float(means + one.trace() + other.trace() - 2 * roots)


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """Return the squared MMD between features (N, F) and (M, F) with the kernel (x·y / F + 1)³.

    It is unbiased for independent samples. A set with fixed shares of its classes has fewer pairs of one class than
    chance would give it: the estimate is then too low by an amount that falls with 1 / N.
    """
    first, second = first.double(), second.double()

    def kernel(one: Tensor, other: Tensor) -> Tensor:
        return (one @ other.T / one.size(1) + 1) ** 3

    def within(some: Tensor) -> Tensor:
        pairs = kernel(some, some)
        return (pairs.sum() - pairs.trace()) / (len(some) * (len(some) - 1))

    return float(within(first) + within(second) - 2 * kernel(first, second).mean())


def bootstrap_deviation(statistic: Callable[[Tensor], float], samples: Tensor, classes: Tensor, seed: int) -> float:
    """Return the standard deviation of a statistic over `RESAMPLES` resamples of samples (N, F), with replacement.

    Each of the classes (N,) is resampled by itself: splits are drawn evenly from all classes, and resamples of all
    samples together would differ mostly in how frequent these are.
    """
    rng = torch.Generator().manual_seed(seed)
    members = [(classes == number).nonzero()[:, 0] for number in classes.unique()]

    def drawn(rows: Tensor) -> Tensor:
        return rows[torch.randint(len(rows), (len(rows),), generator=rng).to(rows.device)]

    found = [statistic(samples[torch.cat([drawn(rows) for rows in members])]) for _ in range(RESAMPLES)]
    return float(torch.tensor(found, dtype=torch.float64).std())


def pairwise_distances(first: Tensor, second: Tensor) -> Tensor:
    """Return the Euclidean distances (N, M), in float64, between (N, F) and (M, F).

    Around their mean and in float64: cdist computes |x|² - 2xy + |y|², which cancels for clusters that are tight and
    far from the origin.
    """
    first, second = first.double(), second.double()
    center = second.mean(0)
    return torch.cdist(first - center, second - center)


def precision_and_recall(real: Tensor, generated: Tensor, neighbors: int = 3) -> tuple[float, float]:
    """Return the fraction of generated samples near real ones, and of real samples near generated ones."""
    return _share_among(generated, real, neighbors), _share_among(real, generated, neighbors)


def coverage(real: Tensor, generated: Tensor, neighbors: int = 5) -> float:
    """Return the fraction of real samples (N, F) with a generated one (M, F) closer than their k-th neighbor."""
    return float((pairwise_distances(real, generated).min(1).values <= _radii(real, neighbors)).double().mean())


def _share_among(samples: Tensor, others: Tensor, neighbors: int) -> float:
    inside = pairwise_distances(samples, others) <= _radii(others, neighbors)
    return float(inside.any(1).double().mean())


def _radii(samples: Tensor, neighbors: int) -> Tensor:
    """Return the distance of each sample to its k-th neighbor (N,), not counting itself."""
    nearest = pairwise_distances(samples, samples).topk(min(neighbors + 1, len(samples)), dim=1, largest=False)
    return nearest.values[:, -1]  # kthvalue() is refused on a CUDA GPU where results must be deterministic


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
