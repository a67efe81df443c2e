"""Sentences with tags in little memory: numbers of distinct words and tags instead of lists of strings."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from dlpipe_text.iob import Sentence


class PackedSentences(Sequence[Sentence]):
    """The (words, tags) of a split, 8 bytes a word besides the distinct strings; lists are made when asked for."""

    def __init__(self, sentences: Iterable[Sentence]) -> None:
        numbers: dict[str, int] = {}
        self._words, self._tags, lengths = array("i"), array("i"), array("i", [0])
        for words, tags in sentences:
            self._words.extend(numbers.setdefault(word, len(numbers)) for word in words)
            self._tags.extend(numbers.setdefault(tag, len(numbers)) for tag in tags)
            lengths.append(len(words))
        self._strings = list(numbers)
        self._starts = array("q", accumulate(lengths))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, row: Any) -> Any:
        start, end = self._starts[range(len(self))[row]], self._starts[range(len(self))[row] + 1]
        words, tags = ([self._strings[each] for each in part[start:end]] for part in (self._words, self._tags))
        return words, tags
