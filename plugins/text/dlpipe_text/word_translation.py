"""Translation word by word, with a dictionary that is learned from sentences and their translations.

Source: model 1 of Brown et al. 1993, "The Mathematics of Statistical Machine Translation: Parameter Estimation",
https://aclanthology.org/J93-2003, section 4.1
Axes: N training pairs, B texts of a batch, S units of the longest source, T units of the longest target, P pairs of
units that occur in a pair of texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlpipe.data import IGNORE_INDEX
from dlpipe.fields import Positive
from dlpipe_text.parallel_text import END
from dlpipe_text.vocabulary import RESERVED
from dlpipe_text.word_features import PADDING


class WordTranslation(nn.Module):
    """Replace each unit of the source by the one that it most probably stands for, in the same order.

    Each unit of a target stands for a unit of the source, or for none of them, whatever their places; how probably a
    unit is translated by another one follows by expectation maximization, from equal probabilities. What is most
    probably translated by nothing that can be written ("other") is left out.

    Args:
        vocab_size: units of sources, with padding and "other".
        target_vocabulary: units of targets by id, first padding, "other" and the end.
        iterations: of expectation maximization.
    """

    translation: Tensor

    def __init__(self, vocab_size: int, target_vocabulary: Sequence[str], *, iterations: Positive = 10) -> None:
        super().__init__()
        self.iterations = iterations
        self.register_buffer("translation", torch.full((vocab_size,), IGNORE_INDEX))

    def fit(self, tokens: Tensor, targets: Tensor) -> None:
        """Learn from sources (N, S) and their targets (N, T)."""
        sources, units, probability = translation_probabilities(tokens, targets, self.iterations)
        # The last of several assignments to a place counts: the most probable one.
        order = probability.argsort(stable=True)
        self.translation[sources[order]] = units[order]
        self.translation[: len(RESERVED)] = IGNORE_INDEX

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, S) to units of targets (B, S); -100 for padding and for what is not translated."""
        return self.translation[tokens]

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the units (B, S)."""
        return outputs


def translation_probabilities(tokens: Tensor, targets: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return units of sources (P,), units of targets (P,), and how probably each of these translates the other.

    `PADDING` among the units of sources stands for none of them.

    Args:
        tokens: sources (N, S).
        targets: of these (N, T).
    """
    # In the place before a source stands the unit for none.
    sources = torch.cat([torch.full_like(tokens[:, :1], PADDING), tokens], 1)
    rows, places = (targets > END).nonzero(as_tuple=True)
    written = targets[rows, places]
    sizes = (1 + (tokens != PADDING).sum(1))[rows]  # how many units each of the target may stand for
    unit = torch.arange(len(rows)).repeat_interleave(sizes)
    place = torch.arange(len(unit)) - (sizes.cumsum(0) - sizes)[unit]
    size = int(written.max()) + 1
    pairs, pair = (sources[rows[unit], place] * size + written[unit]).unique(return_inverse=True)
    source = pairs // size
    probability = torch.ones(len(pairs), dtype=torch.double)
    for _ in range(iterations):
        found = probability[pair]
        total = torch.zeros(len(rows), dtype=torch.double).index_add(0, unit, found)
        counts = torch.zeros_like(probability).index_add(0, pair, found / total[unit])
        sums = torch.zeros(int(source.max()) + 1, dtype=torch.double).index_add(0, source, counts)
        probability = counts / sums[source]
    return source, pairs % size, probability
