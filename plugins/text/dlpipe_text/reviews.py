"""``text.reviews``: sentiment of short reviews from dlpipe's own seeded generator."""

from __future__ import annotations

from typing import Literal

from dlpipe.fields import NonNegative, Positive
from dlpipe_text.labeled_text import LabeledText, Text
from dlpipe_text.review_patterns import Language
from dlpipe_text.review_sentences import review_sentences
from dlpipe_text.text_units import Unit

LANGUAGES: dict[str, tuple[Language, ...]] = {"en": ("en",), "zh": ("zh",), "both": ("en", "zh")}


def reviews(
    *,
    language: Literal["en", "zh", "both"] = "both",
    num_train: Positive = 4000,
    num_dev: Positive = 500,
    num_test: Positive = 1000,
    seed: NonNegative = 1,
    unit: Unit = "word",
    ngrams: NonNegative = 0,
    min_count: Positive = 1,
    max_length: Positive | None = None,
) -> LabeledText:
    """Positive and negative reviews, generated; negations and contrasts decide, not single words.

    Args:
        language: English, Traditional Chinese, or the two in turn.
        num_train: number of training reviews.
        num_dev: number of reviews for choosing the best checkpoint.
        num_test: number of reviews for the final evaluation.
        seed: seed of the generator; the seed of the pipeline does not affect the reviews.
        unit: what the model reads one by one; each Chinese character is a word.
        ngrams: also count sequences of up to this many units, for text.ngram_classifier; 0 counts none.
        min_count: units and n-grams that occur less often in training become "other".
        max_length: number of units of a review that are used, the first ones.
    """
    counts = {"train": num_train, "dev": num_dev, "test": num_test}

    def read(split: str) -> list[Text]:
        return review_sentences(split, counts[split], seed, LANGUAGES[language])  # type: ignore[arg-type]

    return LabeledText(read, tuple(counts), unit=unit, ngrams=ngrams, min_count=min_count, max_length=max_length)
