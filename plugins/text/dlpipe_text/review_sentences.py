"""Seeded generator of short reviews in English and Traditional Chinese, each positive or negative.

"not bad" is praise and "not good" is blame; "the plot is dull but the acting is great" is praise, with the two halves
exchanged it is blame. Within each kind of review, words of praise and of blame, and patterns that keep and reverse
their meaning, are equally frequent in both classes. Only how they are combined decides.

The combination of pattern and word in the clause that decides is never the same in two splits; test also reviews
things that occur in no other split.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

from dlpipe_text.review_patterns import PATTERNS, Language, Patterns

Split = Literal["train", "dev", "test"]
LABELS = ("negative", "positive")
T = TypeVar("T")

SINGLE_SHARE, CONTRAST_SHARE = 0.5, 0.35  # the others are additions
FRAME_SHARE = 0.25  # of openings, and of closings
UNSEEN_SHARE = 0.3  # of the nouns of the test split
#: Of five combinations of pattern and word, one decides reviews of dev, one those of test, and three those of train.
RESIDUES: dict[Split, tuple[int, ...]] = {"train": (2, 3, 4), "dev": (1,), "test": (0,)}


def review_sentences(split: Split, count: int, seed: int, languages: Sequence[Language]) -> list[tuple[str, str]]:
    """Return `count` reviews as (text, label), half of them positive.

    The same arguments give the same reviews on every machine and Python version; a larger count only adds reviews at
    the end.

    Args:
        split: no review of a split occurs in another one.
        count: number of reviews, at least 1.
        seed: any integer.
        languages: of the reviews, in turn.
    """
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}; expected one of {', '.join(map(repr, get_args(Split)))}")
    if count < 1:
        raise ValueError(f"count is {count}; expected a whole number above 0")
    # Random() seeds with the SHA-512 of a string, which is the same everywhere, unlike its hash().
    rng = random.Random(f"reviews/{split}/{seed}")
    writers = [_Writer(split, PATTERNS[language], rng) for language in languages]
    reviews = []
    for number in range(count):
        positive = rng.random() < 0.5
        reviews.append((writers[number % len(writers)].review(positive), LABELS[positive]))
    return reviews


class _Writer:
    """Writes the reviews of a split in one language."""

    def __init__(self, split: Split, patterns: Patterns, rng: random.Random) -> None:
        self._split, self._patterns, self._rng = split, patterns, rng

    def review(self, positive: bool) -> str:
        """Return a review of the given polarity."""
        known, kind = self._patterns, self._rng.random()
        text = self._clause(positive, decides=True)
        if kind >= SINGLE_SHARE:
            contrast = kind < SINGLE_SHARE + CONTRAST_SHARE
            other = self._clause(positive != contrast, decides=False)
            text = self._pick(known.contrasts if contrast else known.additions).format(main=text, other=other)
        # An English mark is separated by blanks, a Chinese one is not.
        blank = " " if known is PATTERNS["en"] else ""
        if self._rng.random() < FRAME_SHARE:
            text = self._pick(known.openings) + blank + text
        if self._rng.random() < FRAME_SHARE:
            text += blank + self._pick(known.closings)
        return text

    def _clause(self, positive: bool, *, decides: bool) -> str:
        known = self._patterns
        reverses = self._rng.random() < 0.5
        patterns = known.reversing if reverses else known.keeping
        words = known.praise if positive != reverses else known.blame
        pattern = self._index(patterns)
        residues = RESIDUES[self._split if decides else "train"]
        word = self._pick([word for number, word in enumerate(words) if (number + pattern) % 5 in residues])
        unseen = self._split == "test" and self._rng.random() < UNSEEN_SHARE
        return patterns[pattern].format(noun=self._pick(known.unseen_nouns if unseen else known.nouns), word=word)

    def _pick(self, values: Sequence[T]) -> T:
        return values[self._index(values)]

    def _index(self, values: Sequence[object]) -> int:
        # Not choice(): only random() promises the same numbers in every version of Python.
        return int(self._rng.random() * len(values))
