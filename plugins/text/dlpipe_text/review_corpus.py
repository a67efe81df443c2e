"""``text.review_corpus``: generated reviews without labels, to learn from them which words mean similar things.

A review says several plain things of the same polarity one after the other, as people do: "the plot is moving, the film
is simply great". So words of praise stand near words of praise, and that is all that there is to learn: no review says
which of the two kinds is positive. The words and the patterns that keep their meaning are those of text.reviews.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Literal

from dlpipe.fields import NonNegative, Positive
from dlpipe_text.corpus import Corpus
from dlpipe_text.review_patterns import PATTERNS, Language
from dlpipe_text.reviews import LANGUAGES

NUM_CLAUSES = 4
SEPARATORS: dict[Language, str] = {"en": " , ", "zh": "，"}


def review_corpus(
    *,
    language: Literal["en", "zh", "both"] = "both",
    num_reviews: Positive = 10_000,
    seed: NonNegative = 1,
    min_count: Positive = 5,
) -> Corpus:
    """Generate reviews without labels, of several clauses each, with the words of text.reviews.

    Args:
        language: English, Traditional Chinese, or the two in turn.
        num_reviews: number of reviews.
        seed: seed of the generator; the seed of the pipeline does not affect the reviews.
        min_count: words that occur less often are left out, as if the reviews did not have them.
    """
    return Corpus(
        lambda: plain_reviews(num_reviews, seed, LANGUAGES[language]),
        lambda: f"{language} {num_reviews} {seed}",
        punctuation=True,
        min_count=min_count,
    )


def plain_reviews(count: int, seed: int, languages: Sequence[Language]) -> Iterator[str]:
    """Yield `count` reviews.

    The same arguments give the same reviews on every machine and Python version.

    Args:
        count: number of reviews.
        seed: any integer.
        languages: of the reviews, in turn.
    """
    # Seeded with the SHA-512 of the string, the same everywhere; another spelling of it would be other data.
    rng = random.Random(f"unlabelled reviews/{seed}")
    for number in range(count):
        language = languages[number % len(languages)]
        known = PATTERNS[language]
        words = known.praise if rng.random() < 0.5 else known.blame
        parts = ((known.keeping, known.nouns, words) for _ in range(NUM_CLAUSES))
        clauses = ([_pick(part, rng) for part in three] for three in parts)
        yield SEPARATORS[language].join(pattern.format(noun=noun, word=word) for pattern, noun, word in clauses)


def _pick(values: Sequence[str], rng: random.Random) -> str:
    # Not choice(): only random() promises the same numbers in every version of Python.
    return values[int(rng.random() * len(values))]
