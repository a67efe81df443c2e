"""Feed-forward network that labels every token from the words in a window around it.

Source: Hung-yi Lee, "Recurrent Neural Network" (lecture), slot filling with a feed-forward
network: without a window it sees the same "Taipei" in "arrive Taipei" and "leave Taipei".
Departs from it: optional context window, dropout and word hashing.
Axes: B sentences, T tokens of the longest, G trigrams of the longest word, D features of a
window, H hidden units, K labels.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from torch import Tensor, nn

from dlpipe.fields import NonNegative, OnlyWith, OpenFraction, Positive
from dlpipe_text.word_features import WordFeatures


class FeedForwardTagger(nn.Module):
    """Score K labels for every token, from the words in a window around it.

    Args:
        vocab_size: token ids run from 0 (padding) and 1 (other) to vocab_size - 1.
        num_trigrams: trigram ids run from 0 (padding) and 1 (other) to num_trigrams - 1.
        labels: names of the K labels.
        inputs: represent a word by its id, by its letter trigrams, or by both, concatenated.
        embedding: learned vectors, or one-hot vectors (for trigrams: counts).
        window: context words on each side; 0 sees one word at a time, 3 sees seven words.
        num_layers: number of hidden layers.
        embed_dim: size of a learned vector.
        hidden_dim: H, units of a hidden layer.
        dropout: probability of zeroing, on the features and on the output of every hidden layer.
        word_dropout: in training, probability of replacing a word by "other"; its trigrams are kept.
    """

    def __init__(
        self,
        vocab_size: int,
        num_trigrams: int,
        labels: Sequence[str],
        *,
        inputs: Literal["words", "trigrams", "both"] = "words",
        embedding: Literal["learned", "one_hot"] = "learned",
        window: NonNegative = 3,
        num_layers: Positive = 1,
        embed_dim: Annotated[Positive, OnlyWith(embedding="learned")] = 100,
        hidden_dim: Positive = 128,
        dropout: OpenFraction = 0.3,
        word_dropout: Annotated[OpenFraction, OnlyWith(inputs=("words", "both"))] = 0.02,
    ) -> None:
        super().__init__()
        self.features = WordFeatures(
            vocab_size,
            num_trigrams,
            inputs=inputs,
            embedding=embedding,
            embed_dim=embed_dim,
            context_window=2 * window + 1,
            word_dropout=word_dropout,
        )
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        size = self.features.num_features
        for _ in range(num_layers):
            layers += [nn.Linear(size, hidden_dim), nn.ReLU(), nn.Dropout(dropout)]
            size = hidden_dim
        self.classify = nn.Sequential(*layers, nn.Linear(size, len(labels)))

    def forward(self, tokens: Tensor, trigrams: Tensor) -> Tensor:
        """Map tokens (B, T) and trigrams (B, T, G) to logits (B, T, K)."""
        features = self.features(tokens, trigrams)  # (B, T, D)
        logits: Tensor = self.classify(features)
        return logits
