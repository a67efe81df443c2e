"""Recurrent encoder and decoder, with or without attention: reads a text and writes another one.

Sources: Sutskever, Vinyals & Le 2014, "Sequence to Sequence Learning with Neural Networks",
https://arxiv.org/abs/1409.3215; Cho et al. 2014 (GRU), https://arxiv.org/abs/1406.1078; Bahdanau, Cho & Bengio 2015,
"Neural Machine Translation by Jointly Learning to Align and Translate", https://arxiv.org/abs/1409.0473; Luong, Pham &
Manning 2015, "Effective Approaches to Attention-based Neural Machine Translation", https://aclanthology.org/D15-1166
Departs from them: as in Luong et al., attention is computed from the state after the last unit, also with the additive
score of Bahdanau et al.; the decoder starts from the last hidden states of the last layer of the encoder, which is
bidirectional by default. Without attention, sources are not reversed.
Axes: B texts, S units of the longest source, T units of the longest target, E embedding, H hidden units, M hidden units
of all directions of the encoder, L layers, V units of targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn

from dlpipe.fields import NonNegativeFloat, NotWith, OpenFraction, Positive
from dlpipe.recurrent import hidden_states, recurrent_layers
from dlpipe_text.attention import Attention, Memory
from dlpipe_text.token_embedding import TokenEmbedding
from dlpipe_text.word_features import PADDING
from dlpipe_text.writing import Scorer, Search, Written, cross_entropy, previous_units


class DecoderState(NamedTuple):
    """What the decoder remembers: the state of its layers, each (B, L, H), and what it has written last, (B, H)."""

    layers: tuple[Tensor, ...]
    attended: Tensor


class Seq2Seq(nn.Module):
    """Read a text to its end, then write another one unit by unit, each given those before it.

    In training, the units before are the true ones (teacher forcing).

    Args:
        vocab_size: units of sources, with padding and "other".
        target_vocabulary: the V units of targets by id, first padding, "other" and the end.
        attention: how the decoder looks at the source: by a score (see `Attention`), or not at all, and knows of it
            only the last state of the encoder.
        input_feeding: the decoder also gets what it has read from the source for the unit before (Luong et al.,
            section 3.3); without it, training is faster, as all units of a target are computed at once.
        cell: kind of recurrent network.
        bidirectional: the encoder also reads each source backward.
        num_layers: L, stacked recurrent layers of the encoder, and of the decoder.
        embed_dim: E.
        hidden_dim: H, units per direction and layer of the encoder, and per layer of the decoder.
        dropout: probability of zeroing, on embeddings, between layers and before the output.
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
        attention: Literal["additive", "multiplicative", "none"] = "additive",
        input_feeding: Annotated[bool, NotWith(attention="none")] = False,
        cell: Literal["gru", "lstm"] = "gru",
        bidirectional: bool = True,
        num_layers: Positive = 1,
        embed_dim: Positive = 128,
        hidden_dim: Positive = 128,
        dropout: OpenFraction = 0.2,
        word_dropout: OpenFraction = 0.0,
        beam_size: Positive = 1,
        length_penalty: NonNegativeFloat = 1.0,
        max_length: Positive | None = None,
    ) -> None:
        super().__init__()
        self.search = Search(beam_size, length_penalty, max_length)
        self.embed = TokenEmbedding(vocab_size, embed_dim, word_dropout)
        self.encoder = recurrent_layers(
            cell, embed_dim, hidden_dim, num_layers, bidirectional=bidirectional, dropout=dropout
        )
        self.forward_dim, memory_dim = hidden_dim, (1 + bidirectional) * hidden_dim
        # One for each tensor of a state, of which an LSTM has two.
        self.bridges = nn.ModuleList(
            nn.Linear(memory_dim, num_layers * hidden_dim) for _ in range(2 if cell == "lstm" else 1)
        )
        self.embed_target = TokenEmbedding(len(target_vocabulary), embed_dim, 0.0)
        self.input_feeding = input_feeding
        self.decoder = recurrent_layers(
            cell, embed_dim + (hidden_dim if input_feeding else 0), hidden_dim, num_layers, dropout=dropout
        )
        self.attention = None if attention == "none" else Attention(attention, hidden_dim, memory_dim, hidden_dim)
        self.combine = None if attention == "none" else nn.Linear(memory_dim + hidden_dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_dim, len(target_vocabulary))

    def forward(self, tokens: Tensor, lengths: Tensor, targets: Tensor | None = None) -> Written:
        """Map tokens (B, S), lengths (B,) on the CPU, and targets (B, T) to what is written, as far as it is known."""
        written = self.encode(tokens, lengths)
        if targets is None:
            return written
        attended, attention, _ = self._decode(previous_units(targets), written.memory, written.state)
        return written._replace(logits=self.output(self.dropout(attended)), attention=attention)

    def exported(self, batch: dict[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return what scores a target."""
        return Scorer(self), {name: batch[name] for name in ("tokens", "lengths", "targets")}

    def encode(self, tokens: Tensor, lengths: Tensor) -> Written:
        """Map tokens (B, S), lengths (B,) on the CPU to what is known before anything is written."""
        hidden = hidden_states(self.encoder, self.dropout(self.embed(tokens)), lengths)  # (B, S, M)
        counts = lengths.to(tokens.device, non_blocking=True)
        # Forward, all has been read after the last unit, backward before the first one.
        ahead, back = hidden.tensor_split([self.forward_dim], 2)
        rows = torch.arange(hidden.size(0), device=hidden.device)
        whole = torch.cat([ahead[rows, counts - 1], back[:, 0]], 1)  # (B, M)
        layers = tuple(bridge(whole).tanh().unflatten(1, (-1, self.forward_dim)) for bridge in self.bridges)
        memory = self.attention.memory(hidden, tokens != PADDING) if self.attention else None
        state = DecoderState(layers, torch.zeros_like(layers[0][:, 0]))
        return Written(None, None, memory, state, self.search.longest(counts))

    def _decode(
        self, previous: Tensor, memory: Memory | None, state: DecoderState
    ) -> tuple[Tensor, Tensor | None, DecoderState]:
        """Map previous units (B, T) to what the next ones follow from (B, T, H), weights (B, T, S) and the state."""
        embedded = self.dropout(self.embed_target(previous))  # (B, T, E)
        if not self.input_feeding:
            return self._advance(embedded, memory, state)
        steps = []
        for position in embedded.split(1, 1):
            fed = torch.cat([position, self.dropout(state.attended).unsqueeze(1)], 2)
            *step, state = self._advance(fed, memory, state)
            steps.append(step)
        attended, weights = (torch.cat(part, 1) for part in zip(*steps, strict=True))
        return attended, weights, state

    def _advance(
        self, inputs: Tensor, memory: Memory | None, state: DecoderState
    ) -> tuple[Tensor, Tensor | None, DecoderState]:
        layers = tuple(layer.transpose(0, 1).contiguous() for layer in state.layers)  # (L, B, H)
        hidden, after = self.decoder(inputs, layers if len(layers) > 1 else layers[0])
        weights = None
        if self.attention and self.combine and memory:
            context, weights = self.attention(hidden, memory)
            hidden = self.combine(torch.cat([context, hidden], 2)).tanh()
        after = after if isinstance(after, tuple) else (after,)
        return hidden, weights, DecoderState(tuple(layer.transpose(0, 1) for layer in after), hidden[:, -1])

    def loss(self, outputs: Written, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the cross-entropy of targets (B, T), mean over all units and ends."""
        return cross_entropy(outputs, targets, label_smoothing)

    def predict(self, outputs: Written) -> Tensor:
        """Return the units of the most probable texts that are found, and their ends, (B, T); -100 after them."""

        def advance(last: Tensor, memory: Memory | None, state: DecoderState) -> tuple[Tensor, DecoderState]:
            attended, _, state = self._decode(last.unsqueeze(1), memory, state)
            return self.output(attended[:, 0]), state

        return self.search.most_probable(outputs, advance)
