"""The tables of a model of word vectors: skip-gram, CBOW and FastText differ in how a trainer fills them.

Source: Mikolov et al. 2013, "Efficient Estimation of Word Representations in Vector Space",
https://arxiv.org/abs/1301.3781; Bojanowski et al. 2017, "Enriching Word Vectors with Subword Information",
https://arxiv.org/abs/1607.04606
Axes: V words, E numbers of a vector, G buckets of letter n-grams, B expressions, T terms of the longest, K neighbors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.fields import OnlyWith, Positive

#: Numbers of a block of similarities, 80 MB.
BLOCK = 20_000_000


class WordVectors(nn.Module):
    """A vector for each word of the vocabulary.

    ``vectors`` (V, E) are what is used, ``outputs`` (V, E) belong to the words that are predicted (negative sampling)
    or to the inner nodes of the Huffman tree (hierarchical softmax). With subwords, the vector of a word is the mean of
    one of its own, in ``own`` (V, E), and those of its letter n-grams, in ``ngrams`` (G, E).

    Args:
        words: the vocabulary, the most frequent word first.
        vector_size: E.
        subwords: also learn vectors of letter n-grams (FastText), so that related forms have related vectors.
        min_ngram: letters of the shortest n-gram; "<" and ">" around a word are letters too.
        max_ngram: letters of the longest n-gram.
        buckets: G; n-grams in the same bucket share a vector. gensim and FastText use 2,000,000.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        vector_size: Positive = 100,
        subwords: bool = False,
        min_ngram: Annotated[Positive, OnlyWith(subwords=True)] = 3,
        max_ngram: Annotated[Positive, OnlyWith(subwords=True)] = 6,
        buckets: Annotated[Positive, OnlyWith(subwords=True)] = 100_000,
    ) -> None:
        super().__init__()
        if max_ngram < min_ngram:
            raise ValueError(f"max_ngram = {max_ngram} is below min_ngram = {min_ngram}; expected at least as much")
        self.words = words
        self._numbers: dict[str, int] = {}
        self.subwords, self.min_ngram, self.max_ngram = subwords, min_ngram, max_ngram
        self.vectors = _table(len(words), vector_size)
        self.outputs = _table(len(words), vector_size)
        if subwords:
            self.own = _table(len(words), vector_size)
            self.ngrams = _table(buckets, vector_size)
        # As in word2vec; a trainer may draw others. `outputs` begin at zero.
        nn.init.uniform_(self.vectors, -1 / vector_size, 1 / vector_size)

    def forward(self, words: Tensor, signs: Tensor) -> Tensor:
        """Map words (B, T) and their signs (B, T), 0 for padding, to sums of vectors of length 1 (B, E)."""
        # A trainer that computes on the CPU keeps the tables there.
        words, signs = words.to(self.vectors.device), signs.to(self.vectors)
        return (F.normalize(self.vectors[words], dim=2) * signs.unsqueeze(2)).sum(1)

    def vector_of(self, word: str) -> Tensor | None:
        """Return the vector (E,) of a word, as it is written or else in lower case; of n-grams if it is unknown.

        None is returned for an unknown word without known n-grams.
        """
        if not self._numbers:
            self._numbers = {each: number for number, each in enumerate(self.words)}
        number = self._numbers.get(word, self._numbers.get(word.lower()))
        if number is not None:
            return self.vectors[number].detach().cpu()
        if not self.subwords:
            return None
        rows = [ngram_hash(each) % len(self.ngrams) for each in ngrams_of(word, self.min_ngram, self.max_ngram)]
        return self.ngrams[rows].detach().mean(0).cpu() if rows else None

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the vectors as they are."""
        return outputs


def nearest_words(model: WordVectors, queries: Tensor, excluded: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the cosines (B, K) and the numbers (B, K) of the words that are nearest to queries (B, E).

    Args:
        excluded: numbers of words (B, T) that are no answers: those of the question.
        count: K; fewer are returned if the vocabulary is smaller.
    """
    unit = F.normalize(model.vectors.detach(), dim=1)
    queries = F.normalize(queries.to(unit), dim=1)
    excluded = excluded.to(unit.device)
    count = max(0, min(count, len(unit) - excluded.size(1)))
    found = []
    size = max(1, BLOCK // len(unit))
    for part, without in zip(queries.split(size), excluded.split(size), strict=True):
        cosines = (part @ unit.T).scatter_(1, without, -torch.inf)
        found.append(cosines.topk(count, dim=1))
    return torch.cat([part.values for part in found]).cpu(), torch.cat([part.indices for part in found]).cpu()


def ngrams_of(word: str, shortest: int, longest: int) -> list[str]:
    """Return the letter n-grams of ``<word>``, as FastText does: those of one letter leave out < and >."""
    marked = f"<{word}>"
    spans = ((start, start + length) for start in range(len(marked)) for length in range(shortest, longest + 1))
    return [
        marked[start:end]
        for start, end in spans
        if end <= len(marked) and not (end - start == 1 and (start == 0 or end == len(marked)))
    ]


def ngram_hash(ngram: str) -> int:
    """Return the 32-bit hash of FastText: FNV-1a on bytes with a sign."""
    value = 2166136261
    for byte in ngram.encode():
        signed = byte | 0xFFFFFF00 if byte > 127 else byte
        value = ((value ^ signed) * 16777619) & 0xFFFFFFFF
    return value


def _table(rows: int, columns: int) -> nn.Parameter:
    # Trainers write the rows that a step changes; autograd would write all.
    return nn.Parameter(torch.zeros(rows, columns), requires_grad=False)
