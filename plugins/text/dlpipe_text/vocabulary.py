"""Which words (characters, trigrams, n-grams) have an id of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from dlpipe.errors import InputError

RESERVED = ("<pad>", "<other>")  # what has the ids PADDING and OTHER of `word_features`


class Learned(dict[str, list[str]]):
    """What data has learned from its training split: lists of strings by name, each in the order of the ids."""

    def __init__(self, lists: Mapping[str, Iterable[str]]) -> None:
        super().__init__({name: list(strings) for name, strings in lists.items()})
        self._ids: dict[str, dict[str, int]] = {}

    def ids(self, name: str) -> dict[str, int]:
        """Return the id of each string of a list, in a table that is made once."""
        if name not in self._ids:
            self._ids[name] = {text: index for index, text in enumerate(self[name])}
        return self._ids[name]


def vocabulary(found: Iterable[str] | Mapping[str, int], min_count: int, kind: str) -> list[str]:
    """Return the reserved names and, sorted, what occurs at least `min_count` times in training.

    Args:
        found: every occurrence, at least one, or how often each occurs.
        kind: what it is, for the message.

    Raises:
        InputError: nothing occurs so often.
    """
    counts = Counter(found)
    frequent = sorted(each for each, count in counts.items() if count >= min_count)
    if not frequent:
        most = max(counts.values())
        raise InputError(
            f"min_count = {min_count}: the most frequent training {kind} occurs {most} times, so every {kind} would be "
            f'"other"; expected at most {most}'
        )
    return [*RESERVED, *frequent]


def unknown_units(units: Sequence[str], known: Collection[str]) -> dict[str, Any]:
    """Return which units of an item are not in the vocabulary, ``unknown``, and what share of all, ``unknown_share``.

    They occur in training fewer than ``min_count`` times, or never.

    Args:
        units: the words (characters) of the item, at least one.
    """
    unknown = [unit for unit in units if unit not in known]
    return {"unknown": list(dict.fromkeys(unknown)), "unknown_share": round(len(unknown) / len(units), 4)}
