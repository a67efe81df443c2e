"""Which words (characters, trigrams, n-grams) have an id of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dlpipe.errors import InputError

RESERVED = ("<pad>", "<other>")  # what has the ids PADDING and OTHER of `word_features`


def vocabulary(found: Iterable[str], min_count: int, kind: str) -> list[str]:
    """Return the reserved names and, sorted, what occurs at least `min_count` times in training.

    Args:
        found: every occurrence, at least one.
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
