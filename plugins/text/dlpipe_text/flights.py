"""``text.flights``: slot filling on flight requests from dlpipe's own seeded generator."""

from __future__ import annotations

from dlpipe.fields import NonNegative, Positive
from dlpipe_text.flight_sentences import flight_sentences
from dlpipe_text.packed_sentences import Sentence
from dlpipe_text.tagged_text import TaggedText


def flights(
    *,
    num_train: Positive = 4000,
    num_dev: Positive = 500,
    num_test: Positive = 1000,
    seed: NonNegative = 1,
    min_count: Positive = 1,
) -> TaggedText:
    """Flight requests with slots, generated; test has cities, dates and patterns unseen in training.

    Args:
        num_train: number of training sentences.
        num_dev: number of sentences for choosing the best checkpoint.
        num_test: number of sentences for the final evaluation.
        seed: seed of the generator; the seed of the pipeline does not affect the sentences.
        min_count: words that occur less often in training become "other".
    """
    counts = {"train": num_train, "dev": num_dev, "test": num_test}

    def read(split: str) -> list[Sentence]:
        return flight_sentences(split, counts[split], seed)  # type: ignore[arg-type]

    return TaggedText(read, tuple(counts), min_count=min_count)
