"""Recurrent networks that score labels for every token (slot filling, tagging).

Source: Mesnil et al. 2013, "Investigation of Recurrent-Neural-Network Architectures and
Learning Methods for Spoken Language Understanding" (Elman and Jordan networks), and Huang et
al. 2015, "Bidirectional LSTM-CRF Models for Sequence Tagging", https://arxiv.org/abs/1508.01991
Departs from them: tanh instead of sigmoid units, dropout, word hashing.
Axes: B sentences, T tokens of the longest, G trigrams of the longest word, D features of a
word, H hidden units per direction, K labels.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.data import IGNORE_INDEX
from dlpipe.errors import InputError
from dlpipe.fields import OnlyWith, OpenFraction, Positive
from dlpipe.recurrent import hidden_states, recurrent_layers
from dlpipe_text.crf import LinearChainCRF
from dlpipe_text.pretrained import Pretrained
from dlpipe_text.word_features import WordFeatures


class RNNTagger(nn.Module):
    """Score K labels for every token, from the words up to it or from the whole sentence.

    Args:
        vocabulary: the words by token id, first padding and "other".
        num_trigrams: trigram ids run from 0 (padding) and 1 (other) to num_trigrams - 1.
        labels: names of the K labels.
        vectors: start from those of text.word_vectors, of an earlier stage or another run, by the words they share.
        freeze_vectors: keep the vectors as they are.
        inputs: represent a word by its id, by its letter trigrams, or by both, concatenated.
        embedding: learned vectors, or one-hot vectors (for trigrams: counts).
        cell: recurrent state: the hidden units (elman, gru, lstm) or the previous label (jordan).
        bidirectional: also read each sentence backward.
        num_layers: number of stacked recurrent layers; a Jordan network has one.
        embed_dim: size of a learned vector.
        hidden_dim: H, units per direction and layer.
        context_window: words seen at once; an odd number, the word itself is in the middle.
        dropout: probability of zeroing, on the features and on the output of every layer.
        word_dropout: in training, probability of replacing a word by "other"; its trigrams are kept.
        output: score every label independently (softmax) or whole label sequences (crf).
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        num_trigrams: int,
        labels: Sequence[str],
        *,
        vectors: Annotated[nn.Module | None, OnlyWith(inputs=("words", "both"), embedding="learned")] = None,
        freeze_vectors: Annotated[bool, OnlyWith("vectors")] = False,
        inputs: Literal["words", "trigrams", "both"] = "words",
        embedding: Literal["learned", "one_hot"] = "learned",
        cell: Literal["elman", "jordan", "gru", "lstm"] = "lstm",
        bidirectional: bool = True,
        num_layers: Positive = 1,
        embed_dim: Annotated[Positive, OnlyWith(embedding="learned")] = 100,
        hidden_dim: Positive = 100,
        context_window: Positive = 1,
        dropout: OpenFraction = 0.5,
        word_dropout: Annotated[OpenFraction, OnlyWith(inputs=("words", "both"))] = 0.02,
        output: Literal["softmax", "crf"] = "softmax",
    ) -> None:
        super().__init__()
        if cell == "jordan" and num_layers != 1:
            raise ValueError(f'num_layers = {num_layers}: cell = "jordan" supports 1 layer only; set num_layers = 1')
        self.features = WordFeatures(
            len(vocabulary),
            num_trigrams,
            inputs=inputs,
            embedding=embedding,
            embed_dim=embed_dim,
            context_window=context_window,
            word_dropout=word_dropout,
        )
        pretrained = Pretrained(vectors, vocabulary, embed_dim, freeze_vectors) if vectors else None
        self.notes = pretrained.notes if pretrained else []
        if pretrained:
            pretrained.fill(self.features.bags["words"].weight)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(dropout)
        num_features, num_labels, num_directions = self.features.num_features, len(labels), 1 + bidirectional
        if cell == "jordan":
            self.net: nn.Module = JordanNet(num_features, hidden_dim, num_labels, num_directions, dropout)
        else:
            net = recurrent_layers(
                cell, num_features, hidden_dim, num_layers, bidirectional=bidirectional, dropout=dropout
            )
            self.net = HiddenNet(net, num_labels, num_directions * hidden_dim, dropout)
        self.crf = LinearChainCRF(num_labels) if output == "crf" else None

    def forward(self, tokens: Tensor, lengths: Tensor, trigrams: Tensor) -> Tensor:
        """Map tokens (B, T), lengths (B,) on the CPU, trigrams (B, T, G) to logits (B, T, K)."""
        features = self.dropout(self.features(tokens, trigrams))  # (B, T, D)
        logits: Tensor = self.net(features, lengths)
        return logits

    def loss(
        self,
        logits: Tensor,
        targets: Tensor,
        lengths: Tensor,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
    ) -> Tensor:
        """Map logits (B, T, K) and targets (B, T) to the mean negative log-likelihood per token, a scalar.

        In evaluation mode, a target of -100 within a sentence is a label that the model does not know.

        Args:
            class_weights: (K,), how much each token counts, by its label.

        Raises:
            InputError: label smoothing or class weights, and the output is a CRF: it scores whole sequences.
        """
        if self.crf is None:
            return F.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), class_weights, label_smoothing=label_smoothing
            )
        if label_smoothing or class_weights is not None:
            option = "label_smoothing" if label_smoothing else "class_weights"
            raise InputError(f'{option}: a CRF scores whole sequences; leave it out, or set output = "softmax"')
        if self.training:  # where every label is known
            return -self.crf.log_likelihood(logits, targets, lengths).sum() / lengths.sum()
        found = self.crf.marginal_log_likelihood(logits, targets, lengths).sum()
        return -found / (targets != IGNORE_INDEX).sum()

    def predict(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Map logits (B, T, K) to the most probable labels (B, T); those of the padding are meaningless."""
        return logits.argmax(dim=2) if self.crf is None else self.crf.viterbi(logits, lengths)

    def probabilities(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Map logits (B, T, K) to the probability of each label at each token (B, T, K)."""
        return logits.softmax(dim=2) if self.crf is None else self.crf.marginals(logits, lengths)


class HiddenNet(nn.Module):
    """Feed back the hidden units: a recurrent network of torch with a classifier on its outputs.

    Args:
        recurrent: an Elman, GRU or LSTM network, batch first.
        num_labels: K.
        num_hidden: hidden units of all directions together.
        dropout: probability of zeroing a hidden unit before the classifier.
    """

    def __init__(self, recurrent: nn.RNNBase, num_labels: int, num_hidden: int, dropout: float) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(num_hidden, num_labels)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map features (B, T, D), lengths (B,) on the CPU to logits (B, T, K)."""
        hidden = hidden_states(self.recurrent, features, lengths)  # (B, T, H of all directions)
        logits: Tensor = self.classify(self.dropout(hidden))
        return logits


class JordanNet(nn.Module):
    """Feed back the label probabilities of the previous token, not only its most probable label.

    With two directions, each feeds back its own labels, and their logits are added.

    Args:
        num_features: D.
        hidden_dim: H.
        num_labels: K.
        num_directions: 1 reads forward only, 2 also backward.
        dropout: probability of zeroing a hidden unit before the classifier.
    """

    def __init__(
        self, num_features: int, hidden_dim: int, num_labels: int, num_directions: int, dropout: float
    ) -> None:
        super().__init__()
        directions = range(num_directions)
        self.features = nn.ModuleList(nn.Linear(num_features, hidden_dim) for _ in directions)
        self.feedback = nn.ModuleList(nn.Linear(num_labels, hidden_dim, bias=False) for _ in directions)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.ModuleList(nn.Linear(hidden_dim, num_labels) for _ in directions)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map features (B, T, D), lengths (B,) to logits (B, T, K)."""
        logits = self._read(0, features)
        if len(self.features) == 2:
            logits = logits + reverse(self._read(1, reverse(features, lengths)), lengths)
        return logits

    def _read(self, direction: int, features: Tensor) -> Tensor:
        """Map features (B, T, D) to logits (B, T, K), reading from first to last."""
        driven = self.features[direction](features)  # (B, T, H)
        logits: list[Tensor] = []
        for hidden in driven.unbind(dim=1):  # (B, H)
            if logits:
                hidden = hidden + self.feedback[direction](logits[-1].softmax(dim=1))
            logits.append(self.classify[direction](self.dropout(hidden.tanh())))
        return torch.stack(logits, dim=1)


def reverse(values: Tensor, lengths: Tensor) -> Tensor:
    """Reverse every sentence of values (B, T, ...), with its padding left in place."""
    position = torch.arange(values.size(1), device=values.device).expand(len(values), -1)  # (B, T)
    from_end = lengths.to(values.device, non_blocking=True).unsqueeze(1) - 1 - position
    source = torch.where(from_end >= 0, from_end, position)
    return values[torch.arange(len(values), device=values.device).unsqueeze(1), source]
