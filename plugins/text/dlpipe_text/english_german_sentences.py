"""Seeded generator of English sentences with their German translations.

What makes translating more than replacing words: the German verb, or its second half, stands at the end ("I have bought
the red car yesterday" is "Ich habe das rote Auto gestern gekauft"), in a subordinate clause all of it does; time and
place change their order; articles and adjectives depend on gender and case of the noun, relative pronouns on a noun
before; "not a" is one word.

No sentence of either language is in two splits. Of the pairs of an adjective and a noun, a tenth each occur in dev and
in test only.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar

from dlpipe_text import english_german_words as words
from dlpipe_text.english_german_words import Gender, Noun, Verb

T = TypeVar("T")
Case = Literal["nominative", "accusative", "dative"]
#: What precedes a noun.
Kind = Literal["definite", "possessive", "this", "indefinite", "number", "no"]
DEFINITE_KINDS: tuple[Kind, ...] = ("definite", "possessive", "this")
KINDS: tuple[Kind, ...] = (*DEFINITE_KINDS, "indefinite", "number")

#: Endings by case, for the genders "m", "f", "n", "p": of the definite article and what is declined like it, of "ein"
#: and what is declined like it, of adjectives after each of these, and without an article.
DEFINITE: Mapping[Case, str] = {
    "nominative": "der die das die",
    "accusative": "den die das die",
    "dative": "dem der dem den",
}
THIS: Mapping[Case, str] = {"nominative": "er e es e", "accusative": "en e es e", "dative": "em er em en"}
INDEFINITE: Mapping[Case, str] = {"nominative": "- e - e", "accusative": "en e - e", "dative": "em er em en"}
WEAK: Mapping[Case, str] = {"nominative": "e e e en", "accusative": "en e e en", "dative": "en en en en"}
MIXED: Mapping[Case, str] = {"nominative": "er e es en", "accusative": "en e es en", "dative": "en en en en"}
STRONG_PLURAL: Mapping[Case, str] = {"nominative": "e", "accusative": "e", "dative": "en"}

#: Of a hundred sentences; those of train have none that the two others have.
SHARES = {"dev": range(10, 20), "test": range(10)}


@dataclass(frozen=True)
class Phrase:
    """A part of a sentence in both languages.

    Args:
        person: 1 for "ich", 3 for the third person singular, 6 for all that has the verb form of the plural.
        definite: whether it precedes adverbs as a German object.
        gender: of a relative pronoun for it.
        is_noun: whether a relative clause can follow it.
    """

    english: str
    german: str
    person: Literal[1, 3, 6] = 3
    definite: bool = True
    gender: Gender = "m"
    is_noun: bool = False


PRONOUNS = (
    Phrase("I", "ich", 1),
    Phrase("he", "er"),
    Phrase("she", "sie"),
    Phrase("we", "wir", 6),
    Phrase("they", "sie", 6),
    Phrase("you", "Sie", 6),
)
#: Present tense by person.
HAVE = {1: "habe", 3: "hat", 6: "haben"}
WILL = {1: "werde", 3: "wird", 6: "werden"}
#: English (third person, negated), German by person.
MODALS: tuple[tuple[str, str, str, str, Mapping[int, str]], ...] = (
    ("can", "can", "cannot", "cannot", {1: "kann", 3: "kann", 6: "können"}),
    ("should", "should", "should not", "should not", {1: "sollte", 3: "sollte", 6: "sollten"}),
    ("want to", "wants to", "do not want to", "does not want to", {1: "will", 3: "will", 6: "wollen"}),
    ("have to", "has to", "do not have to", "does not have to", {1: "muss", 3: "muss", 6: "müssen"}),
    ("may", "may", "may not", "may not", {1: "darf", 3: "darf", 6: "dürfen"}),
)
#: What a subordinate clause follows; the subject of the main clause is part of it.
MAIN_CLAUSES = {
    "I know that": "Ich weiß, dass",
    "he says that": "Er sagt, dass",
    "we think that": "Wir glauben, dass",
    "she hopes that": "Sie hofft, dass",
    "they are happy because": "Sie sind froh, weil",
    "my sister is tired because": "Meine Schwester ist müde, weil",
    "nobody believes that": "Niemand glaubt, dass",
    "I do not know why": "Ich weiß nicht, warum",
    "you asked whether": "Sie haben gefragt, ob",
}
QUESTION_WORDS = {"why": "warum", "when": "wann", "where": "wo"}


def translated_sentences(split: str, count: int, seed: int) -> list[tuple[str, str]]:
    """Return `count` different (English, German) sentences of a split.

    The same arguments give the same sentences on every machine and Python version; a larger count only adds sentences
    at the end.
    """
    # Random() seeds with the SHA-512 of a string, which is the same everywhere, unlike its hash().
    rng = random.Random(f"english_german/{split}/{seed}")
    found: dict[str, str] = {}
    while len(found) < count:
        english, german = _Writer(split, rng).sentence()
        # By the German sentence, which several English ones may have: "I sold it" and "I have sold it".
        if belongs_to(german) == split:
            found.setdefault(german, english)
    return [(english, german) for german, english in found.items()]


@cache
def belongs_to(text: str) -> str:
    """Return the only split in which a text may occur."""
    number = hashlib.sha256(text.encode()).digest()[0] * 100 // 256
    return next((split for split, numbers in SHARES.items() if number in numbers), "train")


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    # Python guarantees reproducible numbers across versions for random(), but not for choice().
    return options[int(rng.random() * len(options))]


def _ending(table: Mapping[Case, str], case: Case, gender: Gender) -> str:
    return table[case].split()["mfnp".index(gender)].strip("-")


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


class _Writer:
    """Writes a sentence."""

    def __init__(self, split: str, rng: random.Random) -> None:
        self.split, self.rng = split, rng

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def entry(self, table: Mapping[str, T]) -> tuple[str, T]:
        return _pick(self.rng, list(table.items()))

    def sentence(self) -> tuple[str, str]:
        """Return a sentence of one of the kinds."""
        english, german = _pick(
            self.rng, (self.statement, self.statement, self.statement, self.question, self.request, self.subordinate)
        )()
        return _upper(english), _upper(german)

    def noun_phrase(self, nouns: Sequence[Noun], case: Case, kinds: Sequence[Kind] = KINDS) -> Phrase:
        """Return a noun with what may precede it, one of `kinds`, and perhaps an adjective."""
        noun = _pick(self.rng, nouns)
        adjectives = words.PERSON_ADJECTIVES if nouns is words.PERSONS else words.OBJECT_ADJECTIVES
        stem = word = ""
        if self.chance(0.5):
            word, stem = self.entry(adjectives)
            while belongs_to(f"{word} {noun.english}") not in ("train", self.split):
                word, stem = self.entry(adjectives)
        kind = _pick(self.rng, kinds)
        plural = kind == "number" or (self.chance(0.2) and kind != "indefinite")
        gender: Gender = "p" if plural else noun.gender
        english, german = (noun.english_plural, noun.german_plural) if plural else (noun.english, noun.german)
        if plural and case == "dative" and german[-1] not in "ns":
            german += "n"
        described = f"{word} {english}".strip()
        table = WEAK
        if kind == "definite":
            article, own = "the", _ending(DEFINITE, case, gender)
        elif kind == "this":
            article, own = ("these" if plural else "this"), "dies" + _ending(THIS, case, gender)
        elif kind == "number":
            article, own = self.entry(words.NUMBERS)
        else:
            table = MIXED
            if kind == "possessive":
                article, own = self.entry(words.POSSESSIVES)
            else:
                an = "an" if described[0] in "aeiou" else "a"
                article, own = (an, "ein") if kind == "indefinite" else ("any" if plural else an, "kein")
            own += _ending(INDEFINITE, case, gender)
        if stem:
            ending = STRONG_PLURAL[case] if kind == "number" else _ending(table, case, gender)
            german = f"{stem}{ending} {german}"
        return Phrase(
            f"{article} {described}",
            f"{own} {german}",
            6 if plural else 3,
            kind in DEFINITE_KINDS,
            gender,
            True,
        )

    def subject(self) -> Phrase:
        """Return a pronoun or a person."""
        return _pick(self.rng, PRONOUNS) if self.chance(0.6) else self.noun_phrase(words.PERSONS, "nominative")

    def verb_and_object(self, kinds: Sequence[Kind] = KINDS) -> tuple[Verb, Phrase]:
        """Return a verb with its object, a noun with one of `kinds` before it."""
        nouns, verbs = (words.PERSONS, words.PERSON_VERBS) if self.chance(0.4) else (words.OBJECTS, words.OBJECT_VERBS)
        verb = _pick(self.rng, verbs)
        return verb, self.noun_phrase(nouns, "dative" if verb.dative else "accusative", kinds)

    def statement(self) -> tuple[str, str]:
        """Return a main clause, perhaps with a relative clause."""
        clause = self.clause()
        subject = clause.subject
        if subject.is_noun and self.chance(0.3):
            relative = self.clause(subject, relative=True)
            subject = Phrase(
                f"{subject.english} who {relative.english_rest}",
                f"{subject.german}, {_ending(DEFINITE, 'nominative', subject.gender)} {relative.german_subordinate},",
            )
            return f"{subject.english} {clause.english_rest}.", f"{subject.german} {clause.german_rest}."
        if clause.time[0] and self.chance(0.4):
            english = " ".join(filter(None, (subject.english, clause.english_verb, clause.place[0])))
            german = " ".join((clause.time[1], clause.finite, subject.german, clause.german_end(time=False)))
            return f"{clause.time[0]} {english}.", f"{german}."
        return f"{subject.english} {clause.english_rest}.", f"{subject.german} {clause.german_rest}."

    def question(self) -> tuple[str, str]:
        """Return a question, with or without a question word."""
        clause = self.clause(_pick(self.rng, PRONOUNS) if self.chance(0.7) else None, question=True)
        english = f"{clause.auxiliary} {clause.subject.english} {clause.english_rest}?"
        german = f"{clause.finite} {clause.subject.german} {clause.german_end()}?"
        if self.chance(0.5) and not clause.place[0] and not clause.time[0]:
            asked, word = self.entry(QUESTION_WORDS)
            if asked != "when" or clause.auxiliary not in ("have", "has"):  # English asks "when did"
                return f"{asked} {english}", f"{word} {german}"
        return english, german

    def request(self) -> tuple[str, str]:
        """Return a request."""
        verb, thing = self.verb_and_object()
        while verb.english in words.NOT_ASKED_FOR:
            verb, thing = self.verb_and_object()
        english = f"please {_with_object(verb.english, verb, thing)}."
        return english, " ".join(filter(None, (verb.german, "Sie bitte", thing.german, verb.prefix))) + "."

    def subordinate(self) -> tuple[str, str]:
        """Return a main clause with a subordinate one."""
        clause = self.clause()
        main, german = self.entry(MAIN_CLAUSES)
        return (
            f"{main} {clause.subject.english} {clause.english_rest}.",
            f"{german} {clause.subject.german} {clause.german_subordinate}.",
        )

    def clause(self, subject: Phrase | None = None, *, question: bool = False, relative: bool = False) -> Clause:
        """Return a clause in one of the tenses."""
        subject = subject or self.subject()
        negated = not relative and self.chance(0.25)
        no = negated and self.chance(0.5)  # "not" is part of the German article then
        verb, thing = self.verb_and_object(("no",) if no else DEFINITE_KINDS if negated else KINDS)
        tense = _pick(self.rng, ("present", "past", "perfect", "future", "modal"))
        times = {
            "present": words.PRESENT_TIMES,
            "past": words.PAST_TIMES,
            "future": words.FUTURE_TIMES,
            "modal": words.FUTURE_TIMES,
        }.get(tense)
        time = self.entry(times) if times and not relative and self.chance(0.5) else ("", "")
        if negated and time[0] == "every day":
            time = ("", "")  # "not every day" is "nicht jeden Tag", and "jeden Tag nicht" something else
        place = self.entry(words.PLACES) if not negated and self.chance(0.3) else ("", "")
        third = subject.person == 3
        auxiliary, finite, german_end = "", "", ""
        if tense == "present":
            auxiliary = "does" if third else "do"
            form, plain = (verb.third if third else verb.english.split()[0]), verb.english
            finite = {1: verb.german.removesuffix("n"), 3: verb.german_third, 6: verb.german}[subject.person]
            german_end = verb.prefix
        elif tense == "past":
            auxiliary, form, plain = "did", verb.past, verb.english
        elif tense == "perfect":
            auxiliary = form = "has" if third else "have"
            form, plain = f"{form} {verb.participle}", verb.participle
        elif tense == "future":
            auxiliary, form, plain = "will", f"will {verb.english.split()[0]}", verb.english
            finite, german_end = WILL[subject.person], verb.prefix + verb.german
        else:
            base, thirds, no_base, no_third, forms = _pick(self.rng, MODALS)
            modal = (no_third if third else no_base) if negated else (thirds if third else base)
            form, plain = f"{modal} {verb.english.split()[0]}", verb.english
            auxiliary = base if " to" not in base else ("does" if third else "do")
            if " to" in base:
                plain = f"{base} {verb.english}"
            finite, german_end = forms[subject.person], verb.prefix + verb.german
        if tense in ("past", "perfect"):
            finite, german_end = HAVE[subject.person], verb.german_participle
        if question:
            form = ("not " if negated else "") + plain
        elif negated and tense != "modal":
            form = f"{auxiliary} not {plain}"
        whole = _with_object(form, verb, thing)
        return Clause(
            subject, auxiliary, whole, finite, german_end, thing, negated and not no, time, place, verb.prefix
        )


def _with_object(form: str, verb: Verb, thing: Phrase) -> str:
    """Return an English verb with its object, which stands before the second word of the verb."""
    *_, particle = verb.english.split()
    if particle == verb.english:
        return f"{form} {thing.english}"
    return f"{form.removesuffix(' ' + particle)} {thing.english} {particle}"


@dataclass(frozen=True)
class Clause:
    """A clause, of which sentences use the parts in different orders.

    Args:
        auxiliary: what an English question begins with.
        english_verb: the English verb, with its object.
        finite: the German verb that agrees with the subject.
        end: the rest of the German verb.
        negated: whether the German clause has a word for "not".
        time, place: in both languages, or empty.
        prefix: of the German verb, which its finite form takes at the end of a clause.
    """

    subject: Phrase
    auxiliary: str
    english_verb: str
    finite: str
    end: str
    thing: Phrase
    negated: bool
    time: tuple[str, str]
    place: tuple[str, str]
    prefix: str

    @property
    def english_rest(self) -> str:
        """All but the subject in English."""
        return " ".join(filter(None, (self.english_verb, self.place[0], self.time[0])))

    @property
    def german_rest(self) -> str:
        """All but the subject in German, for a main clause."""
        return f"{self.finite} {self.german_end()}"

    @property
    def german_subordinate(self) -> str:
        """All but the subject in German, with the verb at the end."""
        joined = self.prefix + self.finite if self.end == self.prefix else f"{self.end} {self.finite}"
        return f"{self.german_end(verb=False)} {joined}"

    def german_end(self, *, time: bool = True, verb: bool = True) -> str:
        """Return what follows the finite verb: definite objects, time, place, others, and the rest of the verb."""
        thing = self.thing
        parts = (
            thing.german if thing.definite else "",
            self.time[1] if time else "",
            self.place[1],
            "" if thing.definite else thing.german,
            "nicht" if self.negated else "",
            self.end if verb else "",
        )
        return " ".join(filter(None, parts))
