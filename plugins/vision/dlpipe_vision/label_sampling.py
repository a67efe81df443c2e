"""Which images of each class are held out, kept, or get a wrong label."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified_sample(targets: Tensor, count: int) -> Tensor:
    """Sample `count` rows evenly from all classes, always the same ones; the only image of a class is not taken.

    Args:
        targets: (N,) class numbers.
    """
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    by_class = order[targets[order].argsort(stable=True)]
    positions = ((torch.arange(count) + 0.5) * (len(targets) / count)).long()
    taken = by_class[positions]
    single = targets.bincount()[targets[taken]] == 1
    return taken[~single].sort().values


def long_tail(targets: Tensor, imbalance: float, num_classes: int) -> Tensor:
    """Return the rows (M,) of images of which each class has fewer than the one before, always the same ones.

    Source: Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", https://arxiv.org/abs/1901.05555,
    section 5.1 (long-tailed CIFAR): of n images of the class k, n · μᵏ remain; at least one.

    Args:
        targets: (N,) class numbers.
        imbalance: how many times more images remain of the first class than of the last, if they have equally many.
    """
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    decay = imbalance ** (-1 / max(1, num_classes - 1))
    kept = []
    for number in range(num_classes):
        rows = order[targets[order] == number]
        kept.append(rows[: max(1, round(len(rows) * decay**number))])
    return torch.cat(kept).sort().values


def with_wrong_labels(targets: Tensor, share: float, num_classes: int) -> Tensor:
    """Return targets (N,) of which a share, always the same ones, are another class, each equally likely."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(targets), generator=generator)[: round(share * len(targets))]
    wrong = targets.clone()
    wrong[rows] += torch.randint(1, num_classes, (len(rows),), generator=generator)
    return wrong % num_classes
