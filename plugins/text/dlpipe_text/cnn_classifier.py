"""Convolutional network that classifies whole texts.

Source: Kim 2014, "Convolutional Neural Networks for Sentence Classification", section 2, https://arxiv.org/abs/1408.5882
Departs from it: no second channel; word dropout; no bound on the norm of the
last layer's weights.
Axes: B texts, T units of the longest, E embedding, F filters of one width, K classes.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.fields import OnlyWith, OpenFraction, Positive
from dlpipe_text.pooling import mask_of
from dlpipe_text.pretrained import Pretrained
from dlpipe_text.token_embedding import TokenEmbedding


class CNNClassifier(nn.Module):
    """Score K classes by the strongest response of each filter anywhere in the text.

    Args:
        vocabulary: the units by token id, first padding and "other".
        num_classes: K.
        vectors: start from those of text.word_vectors, of an earlier stage or another run, by the units they share.
        freeze_vectors: keep the vectors as they are.
        embed_dim: E, size of the vector of a unit.
        widths: units that a filter sees at once.
        num_filters: F, filters of each width.
        dropout: probability of zeroing a response before the last layer.
        word_dropout: in training, probability of replacing a unit by "other".
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        num_classes: int,
        *,
        vectors: nn.Module | None = None,
        freeze_vectors: Annotated[bool, OnlyWith("vectors")] = False,
        embed_dim: Positive = 100,
        widths: Sequence[Positive] = (3, 4, 5),
        num_filters: Positive = 100,
        dropout: OpenFraction = 0.5,
        word_dropout: OpenFraction = 0.0,
    ) -> None:
        super().__init__()
        if not widths:
            raise ValueError("widths = []: expected at least one, such as [3, 4, 5]")
        pretrained = Pretrained(vectors, vocabulary, embed_dim, freeze_vectors) if vectors else None
        self.notes = pretrained.notes if pretrained else []
        self.embed = TokenEmbedding(len(vocabulary), embed_dim, word_dropout, pretrained)
        self.filters = nn.ModuleList(nn.Conv1d(embed_dim, num_filters, width) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(len(widths) * num_filters, num_classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Map tokens (B, T), lengths (B,) on the CPU to logits (B, K)."""
        vectors = self.embed(tokens).transpose(1, 2)  # (B, E, T)
        responses = [self._strongest(filters, vectors, lengths) for filters in self.filters]
        logits: Tensor = self.classify(self.dropout(torch.cat(responses, dim=1)))
        return logits

    @staticmethod
    def _strongest(filters: nn.Module, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Return the strongest response (B, F) of filters to vectors (B, E, T) of texts with lengths (B,)."""
        (width,) = filters.kernel_size  # type: ignore[misc]
        # Zeros on both sides, so that a text of one unit meets every part of a filter.
        responses = filters(F.pad(vectors, (width - 1, width - 1))).relu()  # (B, F, T + width - 1)
        # Where a filter sees nothing but padding, its response is that to its bias, which must not win.
        mask = mask_of(lengths + width - 1, responses.transpose(1, 2)).unsqueeze(1)
        strongest: Tensor = responses.masked_fill(~mask, 0).amax(2)
        return strongest
