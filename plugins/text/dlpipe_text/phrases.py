"""Join words that occur together more often than by chance: "new york" becomes new_york.

Source: Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their Compositionality", section 4,
https://arxiv.org/abs/1310.4546, in the form of gensim: the score is multiplied by the number of
distinct words and pairs.
Departs from them: two parts that are Chinese are joined without a mark.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

from dlpipe_text.text_units import is_han

MARK = "_"
#: Subtracted from the count of a pair, as in gensim: rare pairs are no phrases.
DISCOUNT = 5

Pair = tuple[str, str]


class Phrases:
    """Pairs of words that are one word."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self.pairs = frozenset(pairs)

    @classmethod
    def learned(cls, sentences: Iterable[Sequence[str]], threshold: float) -> Phrases:
        """Return the pairs in sentences whose score is above `threshold`."""
        words: dict[str, int] = defaultdict(int)
        pairs: dict[Pair, int] = defaultdict(int)
        for sentence in sentences:
            for word in sentence:
                words[word] += 1
            for pair in pairwise(sentence):
                pairs[pair] += 1
        distinct = len(words) + len(pairs)
        frequent = ((pair, count) for pair, count in pairs.items() if count > DISCOUNT)
        return cls(
            (first, second)
            for (first, second), count in frequent
            if (count - DISCOUNT) / (words[first] * words[second]) * distinct > threshold
        )

    def joined(self, words: Sequence[str]) -> list[str]:
        """Return the words with each pair as one word; of overlapping pairs, the first one counts."""
        result: list[str] = []
        open_word = ""  # may be the first one of a pair
        for word in chain(words, [""]):
            if open_word and (open_word, word) in self.pairs:
                result.append(open_word + ("" if is_han(open_word[-1]) and is_han(word[0]) else MARK) + word)
                open_word = ""
            else:
                if open_word:
                    result.append(open_word)
                open_word = word
        return result
