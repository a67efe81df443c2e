"""``text.analogy_corpus``: sentences of dlpipe's own seeded generator, whose words stand in known relations."""

from __future__ import annotations

from typing import Literal

from dlpipe.fields import NonNegative, Positive
from dlpipe_text.analogy_sentences import Language, analogy_sentences, questions
from dlpipe_text.corpus import Corpus

LANGUAGES: dict[str, tuple[Language, ...]] = {"en": ("en",), "zh": ("zh",), "both": ("en", "zh")}


def analogy_corpus(
    *,
    language: Literal["en", "zh", "both"] = "both",
    num_sentences: Positive = 60_000,
    seed: NonNegative = 1,
    min_count: Positive = 5,
) -> Corpus:
    """Generate sentences about countries, people, and what they do, with questions such as "Rome - Italy + Germany".

    Args:
        language: English, Traditional Chinese (words separated by blanks), or the two in turn.
        num_sentences: number of sentences.
        seed: seed of the generator; the seed of the pipeline does not affect the sentences.
        min_count: words that occur less often are left out, as if the sentences did not have them.
    """
    chosen = LANGUAGES[language]
    return Corpus(
        lambda: analogy_sentences(num_sentences, seed, chosen),
        lambda: f"{language} {num_sentences} {seed}",
        unit="blank",
        lowercase=False,
        min_count=min_count,
        questions=questions(chosen),
    )
