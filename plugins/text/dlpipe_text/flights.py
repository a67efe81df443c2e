"""``text.flights``: slot filling on flight requests that a seeded generator of ours writes."""

from __future__ import annotations

from dlpipe.fields import NonNegative, Positive
from dlpipe_text.flight_sentences import flight_sentences
from dlpipe_text.iob import Sentence
from dlpipe_text.tagged_text import TaggedText


def flights(
    *,
    num_train: Positive = 4000,
    num_dev: Positive = 500,
    num_test: Positive = 1000,
    seed: NonNegative = 1,
    min_count: Positive = 1,
) -> TaggedText:
    """Flight requests with their slots; cities, dates and patterns in test that training never saw.

    Args:
        num_train: sentences to learn from.
        num_dev: sentences to choose the best checkpoint by.
        num_test: sentences to judge by, once.
        seed: of the generator; the seed of the pipeline leaves the sentences as they are.
        min_count: words seen less often in training are "other".
    """
    counts = {"train": num_train, "dev": num_dev, "test": num_test}

    def read(split: str) -> list[Sentence]:
        return flight_sentences(split, counts[split], seed)  # type: ignore[arg-type]

    return TaggedText(read, tuple(counts), min_count=min_count)
