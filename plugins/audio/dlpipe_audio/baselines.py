"""Vectors of spoken words that need no training: what an encoder must beat.

Axes: N words, T frames, F numbers per frame.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.compute import IsolatedRNG
from dlpipe.evaluation import Examples
from dlpipe_audio.word_vectors import WordVectors, word_vectors


def segment_means(frames: Sequence[Tensor], count: int) -> Tensor:
    """Divide each word (T, F) into `count` parts of equal length and return their means, (N, count × F).

    The naive encoder of Chung et al. 2016, section 4.
    """
    return torch.stack([F.adaptive_avg_pool1d(word.T, count).flatten() for word in frames])


def down_sampled(frames: Sequence[Tensor], count: int) -> Tensor:
    """Return `count` frames of each word (T, F) at equal distances, (N, count × F).

    Linear interpolation, as in Levin et al. 2013, "Fixed-dimensional acoustic embeddings of variable-length segments in
    low-resource settings", https://doi.org/10.1109/ASRU.2013.6707765.
    """
    found = [F.interpolate(word.T.unsqueeze(0), count, mode="linear", align_corners=True) for word in frames]
    return torch.stack([word.flatten() for word in found])


def untrained(model: nn.Module, examples: Examples, who: str) -> WordVectors:
    """Return the vectors of the same model before it has learned anything: its weights are drawn again."""
    fresh = copy.deepcopy(model)
    with IsolatedRNG(0):
        for module in fresh.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    # A pass of its own, so that the predictions of the model that `examples` keeps stay.
    own = Examples(examples.data, examples.split, examples.compute, limit=examples.limit)
    return word_vectors(fresh, own, who)
