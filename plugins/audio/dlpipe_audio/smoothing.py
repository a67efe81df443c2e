"""Vectors of a collection smoothed over their neighbors: recordings that sound alike move together.

Source: Arandjelović & Zisserman 2012, "Three things everyone should know to improve object retrieval", section 4
(database-side feature augmentation), https://www.robots.ox.ac.uk/~vgg/publications/2012/Arandjelovic12/
Departs from it: weights are cosines instead of ranks; the vectors of each speaker are centered first, and smoothed
among themselves before all are smoothed together, since recordings of one speaker are compared most reliably.
Axes: N recordings, V numbers of a vector.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def smoothed(vectors: Tensor, speakers: Tensor, neighbors: int) -> Tensor:
    """Return vectors (N, V) of length one: each the mean of its own and of its nearest ones, twice.

    The first time only recordings of the same speaker are neighbors, the second time all are. Needs all recordings at
    once: a vector depends on which others there are.

    Args:
        vectors: (N, V).
        speakers: (N,) numbers; the mean of each speaker's vectors is subtracted, or that of all if there is only one
            recording. All equal if nobody knows who speaks.
        neighbors: number of nearest vectors to average, weighted by their cosines; all vectors if there are fewer.
    """
    same = speakers.unsqueeze(1) == speakers  # (N, N)
    counts = same.sum(1, keepdim=True)
    vectors = vectors.float()
    means = torch.where(counts > 1, same.float() @ vectors / counts, vectors.mean(0))
    unit = F.normalize(vectors - means, dim=1)
    return _averaged(_averaged(unit, same, neighbors), torch.ones_like(same), neighbors)


def embedded(distances: Tensor) -> Tensor:
    """Return vectors (N, V) whose squared distances are close to `distances` (N, N), V at most N.

    Classical scaling: Torgerson 1952, "Multidimensional scaling: I. Theory and method". Directions with a negative
    eigenvalue, which no vectors have, are left out.
    """
    wide = distances.double()
    centered = wide - wide.mean(0) - wide.mean(1, keepdim=True) + wide.mean()
    values, directions = torch.linalg.eigh(-centered / 2)
    vectors: Tensor = directions * values.clamp_min(0).sqrt()
    return vectors.float()


def _averaged(unit: Tensor, allowed: Tensor, neighbors: int) -> Tensor:
    """Return the means (N, V), of length one, of the vectors and of the nearest that are `allowed` (N, N)."""
    cosines = (unit @ unit.T).clamp_min(0).masked_fill(~allowed, 0)
    nearest = cosines.topk(min(neighbors + 1, len(unit)), dim=1)  # each is its own nearest
    weights = torch.zeros_like(cosines).scatter(1, nearest.indices, nearest.values)
    return F.normalize(weights @ unit, dim=1)
