"""Represent the units of a text by learned vectors.

Axes: B texts, T units of the longest, E embedding.
"""

import torch
from torch import Tensor, nn

from dlpipe_text.pretrained import Pretrained
from dlpipe_text.word_features import OTHER, PADDING


class TokenEmbedding(nn.Module):
    """Represent every unit by a vector of its own; that of the padding is zero.

    Args:
        vocab_size: token ids run from 0 (padding) and 1 (other) to vocab_size - 1.
        embed_dim: E.
        word_dropout: in training, probability of replacing a unit by "other".
        pretrained: vectors to start from; units without one start at random.
    """

    def __init__(
        self, vocab_size: int, embed_dim: int, word_dropout: float, pretrained: Pretrained | None = None
    ) -> None:
        super().__init__()
        self.word_dropout = word_dropout
        self.embed = nn.Embedding(vocab_size, embed_dim, padding_idx=PADDING)
        # As in `WordFeatures`: torch's N(0, 1) is too large for words that are rare in training.
        nn.init.uniform_(self.embed.weight, -0.2, 0.2)
        nn.init.zeros_(self.embed.weight.data[PADDING])
        if pretrained:
            pretrained.fill(self.embed.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T) to vectors (B, T, E)."""
        if self.training and self.word_dropout:
            dropped = torch.rand(tokens.shape, device=tokens.device) < self.word_dropout
            tokens = tokens.masked_fill(dropped & (tokens != PADDING), OTHER)
        vectors: Tensor = self.embed(tokens)
        return vectors
