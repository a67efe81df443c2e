"""``text.stories``: questions about short stories from dlpipe's own seeded generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from dlpipe.fields import NonNegative, Positive
from dlpipe_text.question_data import Question, QuestionData
from dlpipe_text.story_sentences import story_questions


def stories(
    *,
    kinds: Annotated[Sequence[Literal["person", "thing", "yes_no", "count"]], Field(min_length=1)] = (
        "person",
        "thing",
        "yes_no",
        "count",
    ),
    num_train: Positive = 6000,
    num_dev: Positive = 500,
    num_test: Positive = 1000,
    seed: NonNegative = 1,
) -> QuestionData:
    """Stories of people and things that move, generated, each with a question; some answers need several sentences.

    Args:
        kinds: what is asked, in turn: where a person is, where a thing is, whether a person is at a place, how many
            things a person carries.
        num_train: number of training questions.
        num_dev: number of questions for choosing the best checkpoint.
        num_test: number of questions for the final evaluation.
        seed: seed of the generator; the seed of the pipeline does not affect the stories.
    """
    counts = {"train": num_train, "dev": num_dev, "test": num_test}

    def read(split: str) -> list[Question]:
        return story_questions(split, counts[split], seed, kinds)

    return QuestionData(read, tuple(counts))
