"""End-to-end memory network: answers a question about a story by looking at its sentences several times.

Source: Sukhbaatar, Szlam, Weston & Fergus 2015, "End-To-End Memory Networks", https://arxiv.org/abs/1503.08895
Departs from it: the answers of the training split are scored, not all words. As in the authors' code, position weights
are twice those of section 4.1, so that their mean is 1; random empty memories are gaps in the temporal encoding; and
attention may also go to an empty memory, one here, however many places a batch or the memory has left.
Axes: B questions, T words of the longest story and question, S sentences of the longest one with the question, which is
the last one, K hops, E embedding, C answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.fields import NonNegative, OnlyWith, OpenFraction, Positive
from dlpipe_text.word_features import OTHER, PADDING

#: Of the first vectors, as in section 4.2 of the paper.
DEVIATION = 0.1


class MemoryNetwork(nn.Module):
    """Score C answers by K hops over the sentences of a story.

    With adjacent weight tying (section 2.2), the output embedding of a hop is the input embedding of the next one, the
    question has the first embedding, and an answer is scored by the last embedding of its word.

    Args:
        vocabulary: the words by token id, first padding and "other"; the answers are among them.
        labels: the C answers.
        hops: K, how often the sentences are looked at; 0 answers from the question alone.
        embed_dim: E, size of the vectors of words, sentences and the question.
        memory_size: sentences of a story that are looked at, the last ones.
        position_encoding: weight the words of a sentence by their position (section 4.1); without it, their order has
            no influence.
        temporal_encoding: add a learned vector for the age of a sentence; without it, the order of the sentences has
            no influence.
        empty_memories: in training, probability of an empty memory after each sentence, which makes the sentences
            before it one older.
        attention: "linear" leaves out the softmax of the attention, for a first stage of training (linear start).
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        labels: Sequence[str],
        *,
        hops: NonNegative = 3,
        embed_dim: Positive = 20,
        memory_size: Positive = 50,
        position_encoding: bool = True,
        temporal_encoding: bool = True,
        empty_memories: Annotated[OpenFraction, OnlyWith("temporal_encoding")] = 0.1,
        attention: Literal["softmax", "linear"] = "softmax",
    ) -> None:
        super().__init__()
        self.hops, self.memory_size, self.linear = hops, memory_size, attention == "linear"
        self.empty_memories = empty_memories
        # All K + 1 embeddings side by side, since each word is looked up in all of them.
        self.embed = nn.Embedding(len(vocabulary), (hops + 1) * embed_dim, padding_idx=PADDING)
        nn.init.normal_(self.embed.weight, std=DEVIATION)
        # "Other" occurs in training only if rare words become it; until then it means nothing.
        for word in (PADDING, OTHER):
            nn.init.zeros_(self.embed.weight.data[word])
        self.age = None
        if temporal_encoding:
            self.age = nn.Embedding(memory_size, (hops + 1) * embed_dim)
            nn.init.normal_(self.age.weight, std=DEVIATION)
        numbers = {word: number for number, word in enumerate(vocabulary)}
        self.register_buffer("answers", torch.tensor([numbers[label] for label in labels]), persistent=False)
        dims = torch.arange(1, embed_dim + 1) / embed_dim
        self.register_buffer("dims", dims.repeat(hops + 1) if position_encoding else None, persistent=False)

    answers: Tensor
    dims: Tensor | None

    def forward(self, tokens: Tensor, sentence_sizes: Tensor) -> Tensor:
        """Map tokens (B, T) and the number of words of each sentence (B, S) to logits (B, C)."""
        state, _ = self._read(tokens, sentence_sizes)
        last: Tensor = self.embed(self.answers).chunk(self.hops + 1, 1)[-1]  # (C, E)
        return state @ last.T

    def sentence_attention(self, tokens: Tensor, sentence_sizes: Tensor) -> Tensor:
        """Return the attention of each hop to each sentence, (B, K, S); that to the question is 0."""
        return self._read(tokens, sentence_sizes)[1]

    def _read(self, tokens: Tensor, sentence_sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state after the last hop (B, E), and the attention of each hop (B, K, S)."""
        sentences = self._sentence_vectors(tokens, sentence_sizes)  # (B, S, (K + 1) E)
        asked = (sentence_sizes > 0).sum(1, keepdim=True) - 1  # (B, 1), the number of the question
        ages = asked - 1 - torch.arange(sentence_sizes.size(1), device=tokens.device)  # (B, S), 0 is the last sentence
        rows = torch.arange(len(tokens), device=tokens.device)
        state = sentences[rows, asked[:, 0]].chunk(self.hops + 1, 1)[0]
        kept = (ages >= 0) & (ages < self.memory_size)
        if self.age:
            if self.training:
                empty = torch.rand(ages.shape, device=ages.device) < self.empty_memories
                # Those after a sentence make it older: summed from the end.
                ages = ages + (empty & kept).flip(1).cumsum(1).flip(1)
            sentences = sentences + self.age(ages.clamp(0, self.memory_size - 1))
        memories = sentences.chunk(self.hops + 1, 2)
        found = []
        for inputs, outputs in pairwise(memories):
            scores = (inputs @ state[:, :, None])[:, :, 0]  # (B, S)
            if self.linear:
                weights = scores.masked_fill(~kept, 0.0)
            else:
                # The last column is an empty memory, whose vectors are zero: the attention to nothing.
                weights = F.pad(scores.masked_fill(~kept, -torch.inf), (0, 1)).softmax(1)[:, :-1]
            found.append(weights)
            state = state + (weights[:, None] @ outputs)[:, 0]
        return state, torch.stack(found, 1) if found else tokens.new_zeros(len(tokens), 0, sentence_sizes.size(1))

    def _sentence_vectors(self, tokens: Tensor, sentence_sizes: Tensor) -> Tensor:
        """Return the sum of the vectors of the words of each sentence in all embeddings, (B, S, (K + 1) E)."""
        count, length = tokens.shape
        starts = sentence_sizes.cumsum(1) - sentence_sizes  # (B, S)
        marks = tokens.new_zeros(count, length + 1).scatter_add_(1, starts, torch.ones_like(starts))
        sentence = marks.cumsum(1)[:, :length] - 1  # (B, T), the number of the sentence of each word
        words: Tensor = self.embed(tokens)  # (B, T, (K + 1) E)
        if self.dims is not None:
            # The equation of section 4.1 times 2, with positions j from 1 to J.
            sizes = sentence_sizes.gather(1, sentence).clamp(min=1)
            position = (torch.arange(1, length + 1, device=tokens.device) - starts.gather(1, sentence)) / sizes
            position = position[:, :, None]
            words = words * 2 * (1 - position - self.dims * (1 - 2 * position))
        rows = torch.arange(count, device=tokens.device)[:, None] * sentence_sizes.size(1) + sentence
        sums = words.new_zeros(sentence_sizes.numel(), words.size(2))
        sums = sums.index_add(0, rows.flatten(), words.flatten(0, 1))
        sentences: Tensor = sums.unflatten(0, sentence_sizes.shape)
        return sentences
