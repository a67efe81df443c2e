"""Tagger that knows nothing but how often each word has which tag.

Source: the simplest tagger of Charniak et al. 1993, "Equations for Part-of-Speech Tagging" (AAAI-93)
Departs from it: the tags are those of slots, and every tag has a probability above 0.
Axes: N training sentences, B sentences of a batch, T tokens of the longest, V token ids, K labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlpipe.data import IGNORE_INDEX


class MostFrequentTag(nn.Module):
    """Give each word the tag that it most often has in the training split.

    A word that does not occur there gets the tag that is most frequent over all words. The probability of a tag is
    its share, with one occurrence of each tag added, in proportion to the tags of all words.

    Args:
        vocab_size: V; token ids run from 0 (padding) and 1 (other) to vocab_size - 1.
        labels: names of the K labels.
    """

    shares: Tensor

    def __init__(self, vocab_size: int, labels: Sequence[str]) -> None:
        super().__init__()
        self.register_buffer("shares", torch.full((vocab_size, len(labels)), 1 / len(labels)))

    def fit(self, tokens: Tensor, targets: Tensor) -> None:
        """Count the tags (N, T) of the tokens (N, T)."""
        known = targets != IGNORE_INDEX
        size, labels = self.shares.shape
        pairs = tokens[known] * labels + targets[known]
        counts = pairs.bincount(minlength=size * labels).view(size, labels).float()
        overall = counts.sum(0) + 1
        counts += overall / overall.sum()
        self.shares = counts / counts.sum(1, keepdim=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T) to log-probabilities (B, T, K)."""
        return self.shares[tokens].log()
