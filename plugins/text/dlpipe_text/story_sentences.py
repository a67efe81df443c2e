"""Seeded generator of short stories with questions whose supporting facts are known.

People walk between places, take things along and put them down. "where is the lantern" needs two facts: who took it
last, and where that person went, which may be said before or after. The same sentences in another order have another
answer, so that whoever only counts words cannot answer.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

from dlpipe_text.question_data import Question

Kind = Literal["person", "thing", "yes_no", "count"]
T = TypeVar("T")

PEOPLE = ("alma", "boris", "chloe")
PLACES = ("library", "station", "bakery", "harbor")
OBJECTS = ("lantern", "violin", "umbrella")
MOVE = ("walked to the", "hurried to the", "drove to the", "came to the")
TAKE = ("took the", "picked up the", "grabbed the")
DROP = ("put down the", "left the", "dropped the")
NUMBERS = ("none", "one", "two", "three")
SHORTEST, LONGEST = 4, 10  # sentences of a story
FEWEST = 2  # sentences about what a person took and put down, before somebody asks how much it is
MOVE_SHARE = 0.5  # of the sentences about a person who is somewhere already
#: Of ten stories, by a digest of their text, those that may be in train, and the one that may be in dev; else test.
TRAIN_OF_TEN, DEV_OF_TEN = 8, 9


def story_questions(split: str, count: int, seed: int, kinds: Sequence[Kind] = get_args(Kind)) -> list[Question]:
    """Return `count` stories with a question each, the kinds in turn.

    The same arguments give the same stories on every machine and Python version; a larger count only adds some at the
    end. A digest of a story says which split it may be in, so no story is in two of them, whatever the seeds.

    Args:
        split: "train", "dev" or "test".
        count: number of questions.
        seed: any integer.
        kinds: what is asked: where a person is, where a thing is, whether a person is at a place, how many things a
            person carries.
    """
    rng = random.Random(f"stories/{split}/{seed}")
    return [_question(split, kinds[number % len(kinds)], rng) for number in range(count)]


def split_of_story(story: Sequence[str]) -> str:
    """Return the split that a story may be in."""
    tenth = zlib.crc32("\n".join(story).encode()) % 10
    return "train" if tenth < TRAIN_OF_TEN else "dev" if tenth < DEV_OF_TEN else "test"


def _question(split: str, kind: Kind, rng: random.Random) -> Question:
    """Tell stories until one belongs to the split and the question can be asked."""
    while True:
        world = _World(rng)
        for _ in range(SHORTEST + int(rng.random() * (LONGEST - SHORTEST + 1))):
            world.tell()
        if split_of_story(world.story) == split and (question := world.ask(kind)):
            return question


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    # Python guarantees reproducible numbers across versions for random(), but not for choice().
    return options[int(rng.random() * len(options))]


class _World:
    """Where everybody and everything is, and which sentences say so."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.story: list[str] = []
        self.place: dict[str, str] = {}  # of people, and of things that lie somewhere
        self.carrier: dict[str, str] = {}  # of things
        self.facts: dict[str, list[int]] = {}  # that say where a person is, where a thing lies, or who carries it
        self.handled: dict[str, list[int]] = {person: [] for person in PEOPLE}  # what a person took and put down

    def tell(self) -> None:
        """Add a sentence."""
        person = _pick(self.rng, PEOPLE)
        here = self.place.get(person)
        things = [] if here is None else [thing for thing in OBJECTS if self._within_reach(thing, person)]
        if not things or self.rng.random() < MOVE_SHARE:
            self.place[person] = _pick(self.rng, [place for place in PLACES if place != here])
            self.facts[person] = [len(self.story)]
            self.story.append(f"{person} {_pick(self.rng, MOVE)} {self.place[person]}")
            return
        thing, number = _pick(self.rng, things), len(self.story)
        drops = thing in self.carrier
        self.handled[person].append(number)
        if drops:
            del self.carrier[thing]
            self.place[thing] = self.place[person]
            self.facts[thing] = [number, *self.facts[person]]
        else:
            self.carrier[thing] = person
            self.facts[thing] = [number]
        self.story.append(f"{person} {_pick(self.rng, DROP if drops else TAKE)} {thing}")

    def _within_reach(self, thing: str, person: str) -> bool:
        """Whether a person carries a thing, or could take it; one that was never mentioned may be anywhere."""
        if thing in self.carrier:
            return self.carrier[thing] == person
        return self.place.get(thing) in (None, self.place[person])

    def ask(self, kind: Kind) -> Question | None:
        """Return a question about the story, or None if there is nothing to ask."""
        subjects = {
            "person": [person for person in PEOPLE if person in self.place],
            "thing": [thing for thing in OBJECTS if thing in self.facts],
            "yes_no": [person for person in PEOPLE if person in self.place],
            "count": [person for person in PEOPLE if len(self.handled[person]) >= FEWEST],
        }[kind]
        if not subjects:
            return None
        subject = _pick(self.rng, subjects)
        facts = self.facts.get(subject, [])
        if kind == "count":
            carried = sum(person == subject for person in self.carrier.values())
            facts, answer = self.handled[subject], NUMBERS[carried]
            text = f"how many things does {subject} carry"
        elif kind == "yes_no":
            true = self.rng.random() < 0.5
            others = [place for place in PLACES if place != self.place[subject]]
            asked = self.place[subject] if true else _pick(self.rng, others)
            text, answer = f"is {subject} in the {asked}", "yes" if true else "no"
        elif kind == "thing":
            carrier = self.carrier.get(subject)
            facts = facts + self.facts[carrier] if carrier else facts
            text, answer = f"where is the {subject}", self.place[carrier or subject]
        else:
            text, answer = f"where is {subject}", self.place[subject]
        return Question(self.story, text, answer, sorted(facts), kind)
