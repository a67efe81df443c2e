"""How near a picture is to a style and to a content, in the eyes of a trained network, and by its edges.

Axes: N pictures, C channels, H rows, W columns, K compared styles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dlpipe_vision.feature_layers import FeatureLayers
from dlpipe_vision.style_statistics import EPSILON, gram_matrix

#: Pictures at a time.
BATCH = 64
#: The filter of Sobel for the change from left to right.
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


@dataclass(frozen=True)
class Seen:
    """What a network sees in pictures.

    Args:
        grams: Gram matrices (N, C, C) of each layer.
        maps: (N, C, H, W) of the last layer.
    """

    grams: Sequence[Tensor]
    maps: Tensor


def seen_in(pictures: Tensor, judge: FeatureLayers) -> Seen:
    """Return what a judge sees in pictures (N, C, H, W)."""
    grams: list[list[Tensor]] = []
    maps = []
    with torch.no_grad():
        for part in pictures.split(BATCH):
            layers = list(judge(part).values())
            grams.append([gram_matrix(layer) for layer in layers])
            maps.append(layers[-1])
    return Seen([torch.cat(parts) for parts in zip(*grams, strict=True)], torch.cat(maps))


def style_distances(pictures: Seen, styles: Seen, rows: Tensor) -> Tensor:
    """Return the squared distances (N, K) of the Gram matrices of pictures to those of styles, `rows` (N, K) of them.

    Each layer counts relative to the size of its Gram matrices, the mean over all styles.
    """
    total = torch.zeros(rows.shape, device=pictures.maps.device)
    for grams, of_styles in zip(pictures.grams, styles.grams, strict=True):
        size = of_styles.square().sum((1, 2)).mean().clamp_min(EPSILON)
        total += torch.stack([(grams - of_styles[column]).square().sum((1, 2)) / size for column in rows.T], 1)
    return total


def compared_styles(styles: Tensor, count: int) -> Tensor:
    """Return, for each of N styles (N, C, H, W), the rows (N, K) of itself and K - 1 different ones.

    Args:
        count: K, or all different styles if there are fewer.
    """
    _, number = styles.flatten(1).unique(dim=0, return_inverse=True)  # of each style among the different ones
    order = torch.randperm(int(number.max()) + 1, generator=torch.Generator().manual_seed(0)).to(number.device)
    place = order.argsort()[number]
    rows = torch.arange(len(styles), device=order.device)
    first = torch.full_like(order, len(styles)).scatter_reduce_(0, place, rows, "amin")
    others = (place[:, None] + torch.arange(min(count, len(order)), device=order.device)) % len(order)
    return first[others]


def content_distance(pictures: Seen, content: Seen, styles: Seen) -> Tensor:
    """Return squared distances (N,) of the maps of pictures to those of their content, relative to those of styles."""
    of_styles = (styles.maps - content.maps).square().mean((1, 2, 3))
    return (pictures.maps - content.maps).square().mean((1, 2, 3)) / of_styles.clamp_min(EPSILON)


def edges(pictures: Tensor) -> Tensor:
    """Return how much brightness changes at each inner pixel of pictures (N, C, H, W): (N, H - 2, W - 2)."""
    across = torch.tensor(SOBEL, device=pictures.device)
    filters = torch.stack([across, across.T])[:, None]
    changes = F.conv2d(pictures.mean(1, keepdim=True), filters)
    return changes.square().sum(1).sqrt()


def correlation(values: Tensor, others: Tensor) -> Tensor:
    """Return the correlation (N,) of values (N, …) with others over all but the first axis; 0 if one is constant."""
    return F.cosine_similarity(_centered(values), _centered(others), eps=EPSILON)


def _centered(values: Tensor) -> Tensor:
    """Return values (N, …) flattened to (N, M), minus the mean of each row."""
    flat = values.flatten(1)
    return flat - flat.mean(1, keepdim=True)
