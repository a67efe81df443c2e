"""Transformer encoder and decoder: reads a text and writes another one, with attention instead of recurrence.

Source: Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762
Departs from it: layers are normalized before they are used and not after (Xiong et al. 2020, "On Layer Normalization in
the Transformer Architecture", https://arxiv.org/abs/2002.04745), which trains without a warm-up; embeddings of sources,
targets and the output layer are not the same weights.
Axes: B texts, S units of the longest source, T units of the longest target, D numbers of a position, V units of
targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlpipe.fields import NonNegativeFloat, OpenFraction, Positive
from dlpipe_text.attention import Memory
from dlpipe_text.token_embedding import TokenEmbedding
from dlpipe_text.word_features import PADDING
from dlpipe_text.writing import Scorer, Search, Written, cross_entropy, previous_units


class Transformer(nn.Module):
    """Read a text with attention between its units, then write another one unit by unit, each given those before it.

    In training, the units before are the true ones (teacher forcing).

    Args:
        vocab_size: units of sources, with padding and "other".
        target_vocabulary: the V units of targets by id, first padding, "other" and the end.
        num_layers: layers of the encoder, and of the decoder.
        hidden_dim: D; a multiple of `num_heads`.
        num_heads: attentions of each layer that are computed side by side.
        feedforward_dim: units between the two linear layers that follow each attention; by default four times D.
        dropout: probability of zeroing, on embeddings, in each layer and on its output.
        word_dropout: in training, probability of replacing a unit of the source by "other".
        beam_size: texts that are followed at a time to find the most probable one; with 1, each unit is the most
            probable one.
        length_penalty: of the search: the sum of log-probabilities is divided by the number of units to this power;
            only with several texts.
        max_length: units that are written at most; by default twice as many as are read, and ten.
    """

    def __init__(
        self,
        vocab_size: int,
        target_vocabulary: Sequence[str],
        *,
        num_layers: Positive = 2,
        hidden_dim: Positive = 128,
        num_heads: Positive = 4,
        feedforward_dim: Positive | None = None,
        dropout: OpenFraction = 0.1,
        word_dropout: OpenFraction = 0.0,
        beam_size: Positive = 1,
        length_penalty: NonNegativeFloat = 1.0,
        max_length: Positive | None = None,
    ) -> None:
        super().__init__()
        if hidden_dim % num_heads:
            raise ValueError(
                f"hidden_dim = {hidden_dim}: not a multiple of num_heads = {num_heads}, which share it; change one"
            )
        self.search = Search(beam_size, length_penalty, max_length)
        self.embed = TokenEmbedding(vocab_size, hidden_dim, word_dropout)
        self.embed_target = TokenEmbedding(len(target_vocabulary), hidden_dim, 0.0)
        sizes = hidden_dim, num_heads, feedforward_dim or 4 * hidden_dim, dropout
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(num_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(num_layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(hidden_dim), nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_dim, len(target_vocabulary))

    def forward(self, tokens: Tensor, lengths: Tensor, targets: Tensor | None = None) -> Written:
        """Map tokens (B, S), lengths (B,) on the CPU, and targets (B, T) to what is written, as far as it is known."""
        written = self.encode(tokens, lengths)
        if targets is None:
            return written
        decoded, attention, _ = self._decode(previous_units(targets), written.memory, None)
        return written._replace(logits=self.output(decoded), attention=attention)

    def exported(self, batch: dict[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return what scores a target."""
        return Scorer(self), {name: batch[name] for name in ("tokens", "lengths", "targets")}

    def encode(self, tokens: Tensor, lengths: Tensor) -> Written:
        """Map tokens (B, S), lengths (B,) on the CPU to what is known before anything is written."""
        hidden, mask = self._positioned(self.embed(tokens), 0), tokens != PADDING
        for layer in self.encoder:
            hidden = layer(hidden, mask)
        values = self.encoder_norm(hidden)
        counts = lengths.to(tokens.device, non_blocking=True)
        # Before the first unit, no layer has seen any.
        state = tuple(values[:, :0] for _ in self.decoder)
        return Written(None, None, Memory(values, values, mask), state, self.search.longest(counts))

    def _positioned(self, embedded: Tensor, start: int) -> Tensor:
        """Add to each embedding (B, T, D) the encoding of its position, the first one at `start`."""
        scaled = embedded * embedded.size(2) ** 0.5
        result: Tensor = self.dropout(scaled + position_encoding(embedded.size(1), start, embedded))
        return result

    def _decode(
        self, previous: Tensor, memory: Memory, state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Map previous units (B, T) to what the next ones follow from (B, T, D), weights (B, T, S) and the state.

        Args:
            state: what each layer has seen of the units before these (B, before, D); None if there are none.
        """
        hidden = self._positioned(self.embed_target(previous), 0 if state is None else state[0].size(1))
        seen, weights = [], hidden
        for number, layer in enumerate(self.decoder):
            hidden, weights, past = layer(hidden, memory, None if state is None else state[number])
            seen.append(past)
        return self.decoder_norm(hidden), weights, tuple(seen)  # the weights of the last layer

    def loss(self, outputs: Written, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the cross-entropy of targets (B, T), mean over all units and ends."""
        return cross_entropy(outputs, targets, label_smoothing)

    def predict(self, outputs: Written) -> Tensor:
        """Return the units of the most probable texts that are found, and their ends, (B, T); -100 after them."""

        def advance(last: Tensor, memory: Memory, state: Any) -> tuple[Tensor, Any]:
            decoded, _, state = self._decode(last.unsqueeze(1), memory, state)
            return self.output(decoded[:, 0]), state

        return self.search.most_probable(outputs, advance)


class EncoderLayer(nn.Module):
    """Attention between the positions of a sequence, then two linear layers for each of them.

    Args:
        hidden_dim: D.
        num_heads: of the attention.
        feedforward_dim: units between the linear layers.
        dropout: probability of zeroing, on attention weights and on what is added to the input.
    """

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden_dim, num_heads, dropout, batch_first=True)
        self.feedforward = _feedforward(hidden_dim, feedforward_dim, dropout)
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(hidden_dim), nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map hidden states (B, S, D), of which (B, S) are real, to new ones."""
        normed = self.attention_norm(hidden)
        attended, _ = self.attention(normed, normed, normed, key_padding_mask=~mask, need_weights=False)
        hidden = hidden + self.dropout(attended)
        result: Tensor = hidden + self.dropout(self.feedforward(self.feedforward_norm(hidden)))
        return result


class DecoderLayer(nn.Module):
    """Attention to the positions before, then to the source, then two linear layers for each position.

    Args:
        hidden_dim: D.
        num_heads: of both attentions.
        feedforward_dim: units between the linear layers.
        dropout: probability of zeroing, on attention weights and on what is added to the input.
    """

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden_dim, num_heads, dropout, batch_first=True)
        self.source_attention = nn.MultiheadAttention(hidden_dim, num_heads, dropout, batch_first=True)
        self.feedforward = _feedforward(hidden_dim, feedforward_dim, dropout)
        self.attention_norm, self.source_norm, self.feedforward_norm = (nn.LayerNorm(hidden_dim) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, memory: Memory, past: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Map hidden states (B, T, D) to new ones, the weights of the source (B, T, S), and what has been seen.

        Args:
            past: what has been seen before (B, before, D), with which there is one position; None for nothing.
        """
        normed = seen = self.attention_norm(hidden)
        mask = None
        if past is None:
            size = normed.size(1)
            mask = torch.ones(size, size, dtype=torch.bool, device=hidden.device).triu(1)
        else:
            seen = torch.cat([past, normed], 1)
        attended, _ = self.attention(normed, seen, seen, attn_mask=mask, need_weights=False)
        hidden = hidden + self.dropout(attended)
        attended, weights = self.source_attention(
            self.source_norm(hidden), memory.keys, memory.values, key_padding_mask=~memory.mask
        )
        hidden = hidden + self.dropout(attended)
        return hidden + self.dropout(self.feedforward(self.feedforward_norm(hidden))), weights, seen


def _feedforward(hidden_dim: int, feedforward_dim: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(hidden_dim, feedforward_dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(feedforward_dim, hidden_dim)
    )


def position_encoding(length: int, start: int, like: Tensor) -> Tensor:
    """Return the sines and cosines of positions from `start` on, (length, D), as in section 3.5 of the paper.

    Args:
        like: a tensor (…, D) whose type and device they have.
    """
    size = like.size(-1)
    positions = torch.arange(start, start + length, device=like.device, dtype=torch.float32).unsqueeze(1)
    rates = torch.exp(torch.arange(0, size, 2, device=like.device) * (-math.log(10_000.0) / size))
    angles = positions * rates  # (length, D / 2, rounded up)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :size].to(like.dtype)
