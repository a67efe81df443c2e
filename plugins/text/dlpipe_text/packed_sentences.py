"""Sentences with tags in little memory: numbers of distinct words and tags instead of lists of strings.

Axes: W words of all sentences, N sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dlpipe_text.same_hash import among
from dlpipe_text.strings import Strings, StringSequences

Sentence = tuple[list[str], list[str]]  # words, tags


class PackedSentences(Sequence[Sentence]):
    """The (words, tags) of a split, 8 bytes a word besides the distinct strings; lists are made when asked for.

    Args:
        words: of all sentences, one after the other.
        tags: of these words.
        lengths: (N,) words of each sentence.
    """

    def __init__(self, words: Strings, tags: Strings, lengths: NDArray[np.int64]) -> None:
        self.words, self.tags, self.lengths = words, tags, lengths
        self._ends = lengths.cumsum()

    @classmethod
    def of(cls, sentences: Iterable[Sentence]) -> PackedSentences:
        """Pack sentences, which may be made one by one."""
        words, tags = StringSequences(), StringSequences()
        for words_of_it, tags_of_it in sentences:
            words.add(words_of_it)
            tags.add(tags_of_it)
        return cls(words.strings, tags.strings, words.lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: Any) -> Any:
        row = range(len(self))[row]
        place = slice(int(self._ends[row] - self.lengths[row]), int(self._ends[row]))
        words, tags = (
            [strings.distinct[number] for number in strings.numbers[place].tolist()]
            for strings in (self.words, self.tags)
        )
        return words, tags

    def lowercased(self) -> PackedSentences:
        """Return the same sentences with words in lower case."""
        return PackedSentences(self.words.renamed(str.lower), self.tags, self.lengths)

    def selected(self, chosen: NDArray[np.bool_]) -> PackedSentences:
        """Return the sentences of which (N,) `chosen` is true."""
        of_word = np.repeat(chosen, self.lengths)
        words, tags = (Strings.numbered(each.numbers[of_word], each.distinct) for each in (self.words, self.tags))
        return PackedSentences(words, tags, self.lengths[chosen])


def found_in(theirs: PackedSentences, ours: PackedSentences, rename: Callable[[str], str]) -> Tensor:
    """Return which of our sentences are among theirs: (N,) bool.

    Args:
        theirs, ours: in which tags do not matter.
        rename: words that it gives the same name are the same, and those without one do not count.
    """
    shared: dict[str, int] = {"": -1}
    return among(_keys(theirs, rename, shared), _keys(ours, rename, shared))


def _keys(sentences: PackedSentences, rename: Callable[[str], str], shared: dict[str, int]) -> Iterator[bytes]:
    """Yield the words of each sentence as numbers, by `shared`, which gets those that it lacks."""
    names = [shared.setdefault(rename(word), len(shared)) for word in sentences.words.distinct]
    numbers = np.array(names, np.int32)[sentences.words.numbers]
    counts = numbers >= 0
    ends = np.concatenate([np.zeros(1, np.int64), counts.cumsum()])[sentences.lengths.cumsum()].tolist()
    content = numbers[counts].tobytes()
    size = numbers.itemsize
    for start, end in pairwise([0, *ends]):
        yield content[size * start : size * end]
