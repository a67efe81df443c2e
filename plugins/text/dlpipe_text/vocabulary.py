"""Which words (characters, trigrams, n-grams) have an id of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from dlpipe.errors import InputError

RESERVED = ("<pad>", "<other>")  # what has the ids PADDING and OTHER of `word_features`


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

    Args:
        units: the words (characters) of the item, at least one.
    """
    unknown = [unit for unit in units if unit not in known]
    return {"unknown": list(dict.fromkeys(unknown)), "unknown_share": round(len(unknown) / len(units), 4)}
