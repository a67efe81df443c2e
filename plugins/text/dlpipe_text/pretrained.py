"""Start the vectors of a model from those of text.word_vectors, by the words that the two have in common.

Axes: V units of the model's vocabulary, E numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe_text.word_vectors import WordVectors

RESERVED = 2  # PADDING and OTHER, which are no words


class Pretrained:
    """Vectors of an earlier stage or run for the units of a model.

    Args:
        vectors: a trained text.word_vectors.
        vocabulary: the units by id, first the two reserved ones.
        embed_dim: E.
        freeze: keep the vectors as they are in training.

    Raises:
        InputError: the vectors have another size, or no unit has one.
    """

    def __init__(self, vectors: nn.Module, vocabulary: Sequence[str], embed_dim: int, freeze: bool) -> None:
        if not isinstance(vectors, WordVectors):
            raise InputError(f"vectors is a model of type {type(vectors).__name__}; expected text.word_vectors")
        size = vectors.vectors.size(1)
        if size != embed_dim:
            raise InputError(f"embed_dim = {embed_dim}, but the vectors have {size} numbers; set embed_dim = {size}")
        found = [vectors.vector_of(unit) for unit in vocabulary[RESERVED:]]
        self._known = torch.tensor([vector is not None for vector in found])
        num_known, num_all = int(self._known.sum()), len(found)
        if not num_known:
            raise InputError(
                f"none of the {num_all:,} units, such as {vocabulary[RESERVED]}, has one of the {len(vectors.words):,} "
                "vectors; expected the same language, unit and spelling in both"
            )
        self._vectors = torch.stack([vector for vector in found if vector is not None])
        self._freeze = freeze
        self.notes = [
            f"{num_known:,} of {num_all:,} units ({num_known / num_all:.1%}) start from pre-trained vectors, the "
            "others from random ones" + ("; all of them are frozen" if freeze else "")
        ]

    def fill(self, weight: Tensor) -> None:
        """Set the rows of the units that have vectors; the others are drawn with the same variance (Kim 2014)."""
        with torch.no_grad():
            units = weight[RESERVED:]
            nn.init.normal_(units, std=float(self._vectors.std()))
            units[self._known] = self._vectors.to(weight)
        weight.requires_grad_(not self._freeze)
