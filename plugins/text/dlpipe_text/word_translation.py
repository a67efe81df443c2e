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
        self.num_targets, self.iterations = len(target_vocabulary), iterations
        self.register_buffer("translation", torch.full((vocab_size,), IGNORE_INDEX))

    def fit(self, tokens: Tensor, targets: Tensor) -> None:
        """Learn from sources (N, S) and their targets (N, T)."""
        # In the place of the padding after a source stands the unit for none.
        sources = torch.cat([torch.full_like(tokens[:, :1], PADDING), tokens], 1)
        rows, places = (targets > END).nonzero(as_tuple=True)
        candidates = sources[rows]  # (units of targets, 1 + S)
        real = candidates != PADDING
        real[:, 0] = True
        keys = (candidates * self.num_targets + targets[rows, places].unsqueeze(1))[real]
        pairs, pair = keys.unique(return_inverse=True)  # (P,), and which of them each candidate is
        unit = torch.arange(len(rows)).unsqueeze(1).expand_as(real)[real]  # of the target
        source = pairs // self.num_targets
        probability = torch.ones(len(pairs), dtype=torch.double)
        for _ in range(self.iterations):
            found = probability[pair]
            total = torch.zeros(len(rows), dtype=torch.double).index_add(0, unit, found)
            counts = torch.zeros_like(probability).index_add(0, pair, found / total[unit])
            sums = torch.zeros(len(self.translation), dtype=torch.double).index_add(0, source, counts)
            probability = counts / sums[source]
        # The last of several assignments to a place counts: the most probable one.
        order = probability.argsort(stable=True)
        self.translation[source[order]] = pairs[order] % self.num_targets
        self.translation[: len(RESERVED)] = IGNORE_INDEX

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, S) to units of targets (B, S); -100 for padding and for what is not translated."""
        return self.translation[tokens]

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the units (B, S)."""
        return outputs
