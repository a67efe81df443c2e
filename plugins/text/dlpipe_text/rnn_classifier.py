"""Recurrent network that classifies whole texts (many-to-one).

Source: Elman 1990, "Finding Structure in Time"; Hochreiter & Schmidhuber 1997, "Long Short-Term Memory"; Cho et al.
2014, "Learning Phrase Representations using RNN Encoder-Decoder" (GRU), https://arxiv.org/abs/1406.1078
Axes: B texts, T units of the longest, E embedding, H hidden units of all directions together, K classes.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from torch import Tensor, nn

from dlpipe.fields import OnlyWith, OpenFraction, Positive
from dlpipe.recurrent import hidden_states, recurrent_layers
from dlpipe_text.pooling import Pooling
from dlpipe_text.pretrained import Pretrained
from dlpipe_text.token_embedding import TokenEmbedding


class RNNClassifier(nn.Module):
    """Score K classes from the hidden states of a text.

    Args:
        vocabulary: the units by token id, first padding and "other".
        num_classes: K.
        vectors: start from those of text.word_vectors, of an earlier stage or another run, by the units they share.
        freeze_vectors: keep the vectors as they are.
        cell: kind of recurrent network.
        bidirectional: also read each text backward.
        num_layers: number of stacked recurrent layers.
        pooling: what represents the text: the hidden state after its last unit (backward: after its first), the mean
            or the maximum over all units, both of these (max_mean), or a mean with learned weights (attention).
        embed_dim: E, size of the vector of a unit.
        hidden_dim: units per direction and layer.
        attention_dim: units of the layer that computes the weights.
        dropout: probability of zeroing, on the vectors, on the output of every layer and on the pooled one.
        word_dropout: in training, probability of replacing a unit by "other".
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        num_classes: int,
        *,
        vectors: nn.Module | None = None,
        freeze_vectors: Annotated[bool, OnlyWith("vectors")] = False,
        cell: Literal["elman", "gru", "lstm"] = "lstm",
        bidirectional: bool = True,
        num_layers: Positive = 1,
        pooling: Literal["last", "mean", "max", "max_mean", "attention"] = "max",
        embed_dim: Positive = 100,
        hidden_dim: Positive = 100,
        attention_dim: Annotated[Positive, OnlyWith(pooling="attention")] = 100,
        dropout: OpenFraction = 0.5,
        word_dropout: OpenFraction = 0.02,
    ) -> None:
        super().__init__()
        pretrained = Pretrained(vectors, vocabulary, embed_dim, freeze_vectors) if vectors else None
        self.notes = pretrained.notes if pretrained else []
        self.embed = TokenEmbedding(len(vocabulary), embed_dim, word_dropout, pretrained)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = recurrent_layers(
            cell, embed_dim, hidden_dim, num_layers, bidirectional=bidirectional, dropout=dropout
        )
        num_hidden = (1 + bidirectional) * hidden_dim
        self.pool = Pooling(pooling, hidden_dim, num_hidden, attention_dim)
        self.classify = nn.Linear(self.pool.size, num_classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Map tokens (B, T), lengths (B,) on the CPU to logits (B, K)."""
        vectors = self.dropout(self.embed(tokens))  # (B, T, E)
        hidden = hidden_states(self.recurrent, vectors, lengths)  # (B, T, H)
        text = self.pool(hidden, lengths)  # (B, H)
        logits: Tensor = self.classify(self.dropout(text))
        return logits
