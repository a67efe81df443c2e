"""Minimal pairs: two texts of opposite sentiment that differ in a negation, or in the order of their halves only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from dlpipe_text.review_patterns import PATTERNS, Language

KINDS = ("negation", "order")
#: Without and with a negation.
NEGATIONS: dict[Language, tuple[tuple[str, str], ...]] = {
    "en": (("{noun} is {word}", "{noun} is not {word}"), ("{noun} is really {word}", "{noun} isn't really {word}")),
    "zh": (("{noun}很{word}", "{noun}不{word}"), ("{noun}太{word}了", "{noun}不太{word}")),
}
#: Two halves that may change places: the second one decides.
CONTRASTS: dict[Language, tuple[str, ...]] = {
    "en": ("{other} but {main}", "although {other} , {main}"),
    "zh": ("{other}，不過{main}", "雖然{other}，但是{main}"),
}


@dataclass(frozen=True)
class Pair:
    """Two texts, the first one positive."""

    kind: str
    positive: str
    negative: str


def minimal_pairs(language: Language) -> Iterator[Pair]:
    """Yield pairs of the kinds "negation" and "order"; words of praise and blame are equally frequent in both texts."""
    known = PATTERNS[language]
    nouns = known.nouns
    for (plain, negated), (number, praise, blame) in product(
        NEGATIONS[language],
        ((number, *words) for number, words in enumerate(zip(known.praise, known.blame, strict=True))),
    ):
        noun = nouns[number % len(nouns)]
        yield Pair("negation", plain.format(noun=noun, word=praise), negated.format(noun=noun, word=praise))
        yield Pair("negation", negated.format(noun=noun, word=blame), plain.format(noun=noun, word=blame))
    statement = NEGATIONS[language][0][0]
    for contrast, (number, praise) in product(CONTRASTS[language], enumerate(known.praise)):
        good = statement.format(noun=nouns[number % len(nouns)], word=praise)
        bad = statement.format(noun=nouns[(number + 1) % len(nouns)], word=known.blame[-1 - number])
        yield Pair("order", contrast.format(other=bad, main=good), contrast.format(other=good, main=bad))
