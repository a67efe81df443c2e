"""Represent the words of a sentence by vectors: one-hot or learned, of whole words or of letter trigrams.

Source: Huang et al. 2013, "Learning Deep Structured Semantic Models for Web Search using
Clickthrough Data", section 3.2 (word hashing), https://doi.org/10.1145/2505515.2505665
The context window follows Mesnil et al. 2013, "Investigation of Recurrent-Neural-Network
Architectures and Learning Methods for Spoken Language Understanding", section 3.2
Axes: B sentences, T tokens of the longest, G trigrams of the longest word, D features.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PADDING, OTHER = 0, 1  # the first two ids, of both words and trigrams


class WordFeatures(nn.Module):
    """Represent every word and its neighbors by `num_features` numbers.

    Args:
        vocab_size: token ids run from 0 (padding) and 1 (other) to vocab_size - 1.
        num_trigrams: trigram ids run from 0 (padding) and 1 (other) to num_trigrams - 1.
        inputs: represent a word by its id, by its letter trigrams, or by both, concatenated.
        embedding: learned vectors, or one-hot vectors (for trigrams: counts).
        embed_dim: size of a learned vector; the vectors of a word's trigrams are summed.
        context_window: words seen at once; an odd number, the word itself is in the middle.
        word_dropout: in training, probability of replacing a word by "other"; its trigrams are kept.
    """

    def __init__(
        self,
        vocab_size: int,
        num_trigrams: int,
        *,
        inputs: Literal["words", "trigrams", "both"] = "words",
        embedding: Literal["learned", "one_hot"] = "learned",
        embed_dim: int = 100,
        context_window: int = 1,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if context_window % 2 == 0:
            raise ValueError(
                f"context_window = {context_window}: expected an odd number, since the word itself is in the middle"
            )
        self.context_window = context_window
        self.word_dropout = word_dropout
        sizes = {"words": vocab_size, "trigrams": num_trigrams}
        if inputs != "both":
            sizes = {inputs: sizes[inputs]}
        self.bags = nn.ModuleDict()
        num_features = 0
        for name, size in sizes.items():
            if embedding == "one_hot":
                self.bags[name] = Counts(size)
            else:
                self.bags[name] = bag = nn.EmbeddingBag(size, embed_dim, mode="sum", padding_idx=PADDING)
                # As in the code of Mesnil et al.: torch's N(0, 1) is too large for words that are rare in training.
                nn.init.uniform_(bag.weight, -0.2, 0.2)
                nn.init.zeros_(bag.weight.data[PADDING])
            num_features += size if embedding == "one_hot" else embed_dim
        self.num_features = context_window * num_features

    def forward(self, tokens: Tensor, trigrams: Tensor) -> Tensor:
        """Map tokens (B, T) and trigrams (B, T, G) to features (B, T, D)."""
        if self.training:
            dropped = torch.rand(tokens.shape, device=tokens.device) < self.word_dropout
            tokens = tokens.masked_fill(dropped & (tokens != PADDING), OTHER)
        ids = {"words": tokens.unsqueeze(2), "trigrams": trigrams}
        seen = [bag(ids[name].flatten(0, 1)) for name, bag in self.bags.items()]
        features = torch.cat(seen, dim=1).reshape(*tokens.shape, -1)  # (B, T, D of one word)
        reach = self.context_window // 2
        # Zeros beyond both ends of a sentence, like the vectors of the padding.
        return F.pad(features, (0, 0, reach, reach)).unfold(1, self.context_window, 1).flatten(2)


class Counts(nn.Module):
    """Count the occurrences of every id in a bag, ignoring padding: one-hot for a bag of one.

    Args:
        num_ids: ids run from 0 (padding) to num_ids - 1.
    """

    def __init__(self, num_ids: int) -> None:
        super().__init__()
        self.num_ids = num_ids

    def forward(self, ids: Tensor) -> Tensor:
        """Map bags of ids (N, G) to counts (N, num_ids)."""
        counts = torch.zeros(len(ids), self.num_ids, device=ids.device)
        return counts.scatter_add_(1, ids, (ids != PADDING).to(counts.dtype))
