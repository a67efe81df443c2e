"""``text.english_german``: translation of sentences from dlpipe's own seeded generator."""

from __future__ import annotations

from dlpipe.fields import NonNegative, Positive
from dlpipe_text.english_german_sentences import translated_sentences
from dlpipe_text.parallel_text import Pair, ParallelText


def english_german(
    *,
    num_train: Positive = 12000,
    num_dev: Positive = 500,
    num_test: Positive = 1000,
    seed: NonNegative = 1,
    reverse: bool = False,
) -> ParallelText:
    """English sentences with their German translations, generated.

    No sentence is in two splits, and dev and test have pairs of an adjective and a noun that train does not have.

    Args:
        num_train: number of training sentences.
        num_dev: number of sentences for choosing the best checkpoint.
        num_test: number of sentences for the final evaluation.
        seed: seed of the generator; the seed of the pipeline does not affect the sentences.
        reverse: translate from German to English.
    """
    counts = {"train": num_train, "dev": num_dev, "test": num_test}

    def read(split: str) -> list[Pair]:
        pairs = translated_sentences(split, counts[split], seed)
        return [(german, english) for english, german in pairs] if reverse else pairs

    return ParallelText(read, tuple(counts))
