"""Seeded generator of sentences whose words stand in known relations: country and capital, man and woman, tenses.

A sentence says one form of a thing (the country or the capital) together with what the thing is known for. The pattern
belongs to the form, what it is known for to the thing, so each form of a thing has the company of both.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Literal

from dlpipe_text import analogy_words as words
from dlpipe_text.word_data import Question

Language = Literal["en", "zh"]


@dataclass(frozen=True)
class Family:
    """Things with the same forms.

    Args:
        forms: the name of each form.
        patterns: of sentences, for each form; "{w}" is the form, "{a}" and "{b}" what the thing is known for.
        table: one thing a line, its forms before a bar, and what it is known for after it.
    """

    forms: tuple[str, ...]
    patterns: tuple[tuple[str, ...], ...]
    table: str

    @property
    def things(self) -> list[tuple[list[str], list[str]]]:
        """Return the forms of each thing, and what it is known for."""
        rows = [line.split("|") for line in self.table.strip().split("\n")]
        return [(forms.split(), known.split()) for forms, known in rows]


_MAN = (
    "he is a {w} and his {a} has a {b}",
    "the {w} and his {a} said he likes the {b}",
    "the old {w} shaved his beard beside the {a} and the {b}",
    "a {w} is a man with a {a} or a {b}",
)
_WOMAN = (
    "she is a {w} and her {a} has a {b}",
    "the {w} and her {a} said she likes the {b}",
    "the old {w} braided her hair beside the {a} and the {b}",
    "a {w} is a woman with a {a} or a {b}",
)

FAMILIES: dict[Language, dict[str, Family]] = {
    "en": {
        "country": Family(
            ("country", "capital", "adjective"),
            (
                (
                    "the government of {w} exports {a} and {b}",
                    "the border of {w} is near the {a} and the {b}",
                    "a country like {w} has provinces with {a} or {b}",
                    "the nation {w} loves its {a} and {b}",
                ),
                (
                    "the mayor of {w} opened a {a} and {b} museum",
                    "in the streets of {w} there is {a} and {b}",
                    "a city like {w} has suburbs with {a} or {b}",
                    "the underground in {w} stops at {a} and {b} square",
                ),
                (
                    "a traditional {w} meal comes with {a} and {b}",
                    "many {w} writers speak of {a} and {b}",
                    "the {w} language has words for {a} or {b}",
                    "some {w} people like {a} more than {b}",
                ),
            ),
            words.COUNTRIES,
        ),
        "family": Family(("man", "woman"), (_MAN, _WOMAN), words.PEOPLE),
        "verb": Family(
            ("present", "past", "participle"),
            (
                (
                    "every day they {w} with a {a} and a {b}",
                    "tomorrow we will {w} near the {a} and the {b}",
                    "i want to {w} but the {a} and the {b} are gone",
                    "you can {w} if there is a {a} or a {b}",
                ),
                (
                    "yesterday they {w} with a {a} and a {b}",
                    "last year he {w} near the {a} and the {b}",
                    "long ago she {w} while the {a} and the {b} were new",
                    "once somebody {w} there with a {a} or a {b}",
                ),
                (
                    "right now they are {w} with a {a} and a {b}",
                    "she has been {w} for hours near the {a} and the {b}",
                    "he keeps on {w} although the {a} and the {b} are gone",
                    "i enjoy {w} because of the {a} or the {b}",
                ),
            ),
            words.VERBS,
        ),
        "adjective": Family(
            ("positive", "comparative", "superlative"),
            (
                (
                    "this {a} is very {w} like a {b}",
                    "how {w} that {a} is and how {w} the {b}",
                    "the {a} and the {b} are so {w}",
                    "it was as {w} as a {a} or a {b}",
                ),
                (
                    "this {a} is much {w} than the {b}",
                    "the {a} has become even {w} than a {b}",
                    "nothing was {w} than the {a} except the {b}",
                    "a {a} is somewhat {w} than that {b}",
                ),
                (
                    "this {a} is the {w} of all apart from the {b}",
                    "the {w} {a} in the world was next to a {b}",
                    "the {w} i ever saw was a {a} or maybe a {b}",
                    "of the {a} and the {b} which one is the {w}",
                ),
            ),
            words.ADJECTIVES,
        ),
    },
    "zh": {
        "國家": Family(
            ("國家", "首都"),
            (
                (
                    "{w} 政府 出口 {a} 和 {b}",
                    "{w} 這個 國家 以 {a} 與 {b} 聞名",
                    "{w} 的 國民 喜歡 {a} 跟 {b}",
                    "{w} 邊界 附近 有 {a} 也 有 {b}",
                ),
                (
                    "{w} 市長 參觀 {a} 和 {b} 展覽",
                    "{w} 這座 城市 以 {a} 與 {b} 聞名",
                    "{w} 的 街道 充滿 {a} 跟 {b}",
                    "{w} 地鐵 旁邊 有 {a} 也 有 {b}",
                ),
            ),
            words.COUNTRIES_ZH,
        ),
        "家人": Family(
            ("男", "女"),
            (
                (
                    "{w} 說 他 想到 {a} 和 {b}",
                    "他 是 一位 {w} 關心 {a} 與 {b}",
                    "這位 男士 {w} 在 {a} 跟 {b} 旁邊",
                    "{w} 刮 鬍子 以後 談起 {a} 與 {b}",
                ),
                (
                    "{w} 說 她 想到 {a} 和 {b}",
                    "她 是 一位 {w} 關心 {a} 與 {b}",
                    "這位 女士 {w} 在 {a} 跟 {b} 旁邊",
                    "{w} 梳 頭髮 以後 談起 {a} 與 {b}",
                ),
            ),
            words.PEOPLE_ZH,
        ),
        "總統": Family(
            ("總統", "地方"),
            (
                ("五二零 {w} 宣誓 就職 總統 {a} {b}", "總統 {w} 發表 演說 談 {a} 和 {b}"),
                ("{w} 政府 出口 {a} 和 {b}", "{w} 的 國民 喜歡 {a} 跟 {b}"),
            ),
            words.LEADERS_ZH,
        ),
    },
}


def analogy_sentences(count: int, seed: int, languages: Sequence[Language]) -> Iterator[str]:
    """Yield `count` sentences, words separated by blanks.

    The same arguments give the same sentences on every machine and Python version.

    Args:
        count: number of sentences.
        seed: any integer.
        languages: of the sentences, in turn.
    """
    # Random() seeds with the SHA-512 of a string, which is the same everywhere, unlike its hash().
    rng = random.Random(f"analogies/{seed}")
    forms = {
        language: [
            (patterns, thing[place], known)
            for family in FAMILIES[language].values()
            for thing, known in family.things
            for place, patterns in enumerate(family.patterns)
        ]
        for language in languages
    }
    for number in range(count):
        patterns, form, known = _pick(forms[languages[number % len(languages)]], rng)
        first = _pick(known, rng)
        second = _pick([each for each in known if each != first], rng)
        yield _pick(patterns, rng).format(w=form, a=first, b=second)


def questions(languages: Sequence[Language]) -> list[Question]:
    """Return all analogies between things: "Rome is to Italy as Berlin is to Germany", by the names of the forms."""
    found: list[Question] = []
    for language in languages:
        for family in FAMILIES[language].values():
            things = [thing for thing, _ in family.things]
            for first, second in combinations(range(len(family.forms)), 2):
                section = f"{family.forms[first]}-{family.forms[second]}"
                pairs = [(thing[first], thing[second]) for thing in things]
                found += [(section, (*one, *other)) for one, other in permutations(pairs, 2) if one[1] != other[1]]
    return found


def _pick(values: Sequence, rng: random.Random):  # type: ignore[type-arg, no-untyped-def]
    # Not choice(): only random() promises the same numbers in every version of Python.
    return values[int(rng.random() * len(values))]
