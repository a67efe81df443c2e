"""Seeded generator of flight-booking sentences with a slot tag for every word (slot filling).

"leave taipei on november 2nd" and "arrive taipei on november 2nd" differ in one word, but taipei is the origin in the
first and the destination in the second: a tagger that sees one word at a time cannot distinguish them.  Here the
deciding word may also come after the city or the date, or far away from it.

Each sentence is a request with, at random, an opening, up to three details and a closing, all from `flight_patterns`.
The test split also uses requests, cities, airlines, days and times that never occur in train; dev has other unseen
values.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from typing import Literal, TypeVar, get_args

from dlpipe_text import flight_patterns as patterns
from dlpipe_text import flight_words

Split = Literal["train", "dev", "test"]
T = TypeVar("T")

OPENING_SHARE = 0.15
CLOSING_SHARE = 0.15
DETAIL_SHARE = 0.55  # of each of three details
UNSEEN_SHARE = 0.2  # of the values that occur in no other split, if a kind has any
SHORT_DATE_SHARE = 0.25  # of "friday" and "the 9th" among dates

GROUP = re.compile(r"\(([^()]*)\)")
SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
NAME = re.compile(r"<(\w+)>")

MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
HOURS = ("twelve", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
ORDINALS = (
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
    "thirtieth",
)
SPOKEN_MINUTES = {
    10: "ten past",
    15: "quarter past",
    20: "twenty past",
    30: "half past",
    40: "twenty to",
    45: "quarter to",
    50: "ten to",
}


def flight_sentences(split: Split, count: int, seed: int) -> list[tuple[list[str], list[str]]]:
    """Return `count` sentences as (words, tags), lower case and without punctuation, tags in IOB2.

    The same arguments give the same sentences on every machine and Python version; a larger count only adds sentences
    at the end.  The splits share no random numbers, so each can be generated independently.

    Args:
        split: "dev" and "test" contain values that occur in no other split; "test" also contains such patterns.
        count: number of sentences, at least 1; generating 10000 takes about a second.
        seed: any integer.
    """
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}; expected one of {', '.join(map(repr, get_args(Split)))}")
    if count < 1:
        raise ValueError(f"count is {count}; expected a whole number above 0")
    # Random() seeds with the SHA-512 of a string, which is the same everywhere, unlike its hash().
    rng = random.Random(f"flights/{split}/{seed}")
    return [_Sentence(split, rng).write() for _ in range(count)]


@cache
def expand(pattern: str) -> tuple[str, ...]:
    """Expand the alternatives: ``"to {to_city} (|please)"`` gives ``("to {to_city}", "to {to_city} please")``."""
    group = GROUP.search(pattern)
    if group is None:
        return (" ".join(pattern.split()),)
    before, after = pattern[: group.start()], pattern[group.end() :]
    return tuple(flat for choice in group[1].split("|") for flat in expand(before + choice + after))


def _requests(split: Split) -> tuple[str, ...]:
    return patterns.REQUESTS + (patterns.TEST_ONLY_REQUESTS if split == "test" else ())


@cache
def _slots(text: str) -> frozenset[str]:
    """Return the slots that a pattern may fill, directly or through its fillers."""
    own = {slot for slot, _ in SLOT.findall(text)}
    return frozenset(own.union(*(_slots(" ".join(patterns.FILLERS.get(name, ()))) for name in NAME.findall(text))))


@cache
def _fits(detail: str, taken: frozenset[str]) -> bool:
    """Return whether `detail` neither repeats nor contradicts the slots already taken."""
    new = _slots(detail)
    return not new & taken and not any(clash & new and clash <= new | taken for clash in patterns.CLASHES)


@cache
def _fitting(details: tuple[str, ...], taken: frozenset[str]) -> tuple[str, ...]:
    return tuple(detail for detail in details if _fits(detail, taken))


@cache
def _pieces(pattern: str) -> tuple[tuple[str, str, str], ...]:
    """Return each piece of a pattern without alternatives as (word, name, slot).

    A word has neither of the others; a placeholder has the name of a kind of value or of a filler, and perhaps a slot.
    """
    pieces = []
    for piece in pattern.split():
        if slot := SLOT.fullmatch(piece):
            pieces.append(("", slot[2] or patterns.SLOT_KINDS[slot[1]], slot[1]))
        elif name := NAME.fullmatch(piece):
            pieces.append(("", name[1], ""))
        else:
            pieces.append((piece, "", ""))
    return tuple(pieces)


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    # Python guarantees reproducible numbers across versions for random(), but not for choice().
    return options[int(rng.random() * len(options))]


class _Sentence:
    """A sentence under construction, and the values it contains so far."""

    def __init__(self, split: Split, rng: random.Random) -> None:
        self.split = split
        self.rng = rng
        self.words: list[str] = []
        self.tags: list[str] = []
        self.named: set[str] = set()  # no value twice: "from rome to rome"
        self.day = date(2027, 1, 1) + timedelta(days=int(rng.random() * 365))

    def write(self) -> tuple[list[str], list[str]]:
        """Generate opening, request, details and closing."""
        if self.rng.random() < OPENING_SHARE:
            self.say(_pick(self.rng, patterns.OPENINGS))
        request = _pick(self.rng, expand(_pick(self.rng, _requests(self.split))))
        self.say(request.rstrip(" .?"))
        if not request.endswith("?"):
            self.add_details(_slots(request), patterns.CLAUSES if request.endswith(".") else patterns.PHRASES)
            if self.rng.random() < CLOSING_SHARE:
                self.say(_pick(self.rng, patterns.CLOSINGS))
        return self.words, self.tags

    def add_details(self, taken: frozenset[str], details: tuple[str, ...]) -> None:
        """Add up to three details: two from `details`, then a clause."""
        for choices in (details, details, patterns.CLAUSES):
            if self.rng.random() >= DETAIL_SHARE:
                continue
            detail = _pick(self.rng, _fitting(choices, taken))
            taken |= _slots(detail)
            self.say(detail)

    def say(self, pattern: str) -> None:
        """Append a pattern without alternatives, with its placeholders replaced by values."""
        for word, name, slot in _pieces(pattern):
            if word:
                self.append(word)
            elif name in patterns.FILLERS and not slot:
                self.say(_pick(self.rng, patterns.FILLERS[name]))
            else:
                self.append(self.value(name, slot), slot)

    def append(self, text: str, slot: str = "") -> None:
        """Append words that all belong to one slot, or to none."""
        words = text.split()
        self.words += words
        self.tags += [f"B-{slot}"] + [f"I-{slot}"] * (len(words) - 1) if slot else ["O"] * len(words)

    def value(self, kind: str, slot: str = "") -> str:
        """Draw a value that this sentence does not contain yet."""
        while True:
            text = self.draw(kind, slot)
            if text not in self.named:
                self.named.add(text)
                return text

    def draw(self, kind: str, slot: str) -> str:
        """Draw a value of `kind`; the slot matters only for dates."""
        if kind == "date":
            return self.draw_date(slot)
        if kind == "flight_number":
            return f"{_pick(self.rng, flight_words.KINDS['carrier'].known)} {100 + int(self.rng.random() * 900)}"
        words = clock_words() if kind == "clock" else flight_words.KINDS[kind]
        own = {"train": (), "dev": words.dev, "test": words.test}[self.split]
        return _pick(self.rng, own if own and self.rng.random() < UNSEEN_SHARE else words.known)

    def draw_date(self, slot: str) -> str:
        """Draw a date that fits after "on"; an arrival is 1 day after the departure, a return 2 to 15 days."""
        days_later = {"arrive_date": 1, "return_date": 2 + int(self.rng.random() * 14)}.get(slot, 0)
        day = self.day + timedelta(days=days_later)
        while any(day.day in days for split, days in flight_words.DAYS.items() if split != self.split):
            day += timedelta(days=1)
        short = self.rng.random() < SHORT_DATE_SHARE
        return _pick(self.rng, short_dates(day) if short else long_dates(day))


@cache
def clock_words() -> flight_words.Words:
    """Return the times of day of every split."""
    return flight_words.Words(**{split: clock_times(minutes) for split, minutes in flight_words.MINUTES.items()})


def clock_times(minutes: tuple[int, ...]) -> tuple[str, ...]:
    """Return all ways to say the times of a day at these minutes past the hour: "14:30", "half past two", "noon"."""
    times = ["noon", "midnight"] * 5 if 0 in minutes else []  # more common than any other time
    for minute in minutes:
        for number, name in enumerate(HOURS):
            spoken = f"{SPOKEN_MINUTES[minute]} {name}" if minute else f"{name} o'clock"
            times += [spoken, f"{spoken} in the morning", f"{spoken} in the {'evening' if number > 5 else 'afternoon'}"]
        for hour in range(24):
            short = f"{hour % 12 or 12}:{minute:02d}" if minute else f"{hour % 12 or 12}"
            times += [f"{hour}:{minute:02d}", f"{short} {'am' if hour < 12 else 'pm'}"]
    return tuple(times)


def long_dates(day: date) -> tuple[str, ...]:
    """Return the ways to say a day of the year: "november 2nd", "the second of november", "11/2"."""
    month, ordinal, spoken = MONTHS[day.month - 1], short_ordinal(day.day), spoken_ordinal(day.day)
    return (
        f"{month} {ordinal}",
        f"the {ordinal} of {month}",
        f"{month} {day.day}",
        f"{day.day} {month}",
        f"the {spoken} of {month}",
        f"{month} the {spoken}",
        f"{WEEKDAYS[day.weekday()]} {month} {ordinal}",
        f"{WEEKDAYS[day.weekday()]} the {spoken} of {month}",
        f"{day.month}/{day.day}",
    )


def short_dates(day: date) -> tuple[str, ...]:
    """Return the ways to say a day of this week or month: "friday", "the 9th"."""
    return (WEEKDAYS[day.weekday()], f"the {short_ordinal(day.day)}")


def short_ordinal(number: int) -> str:
    """Return "1st", "2nd", "3rd", "4th" … for 1 to 31."""
    ending = "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def spoken_ordinal(number: int) -> str:
    """Return "first", "second" … "thirty first" for 1 to 31."""
    if number <= 20:
        return ORDINALS[number - 1]
    if number == 30:
        return ORDINALS[-1]
    return f"{'twenty' if number < 30 else 'thirty'} {ORDINALS[number % 10 - 1]}"
