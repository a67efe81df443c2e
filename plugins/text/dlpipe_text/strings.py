"""Many strings in little memory: numbers of distinct ones.

Axes: W strings, N sequences of them.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Strings:
    """Many strings, of which few are distinct.

    Args:
        numbers: (W,) which of `distinct` each is.
        distinct: strings, each at least once in the sequence and not twice in here.
    """

    numbers: NDArray[np.int32]
    distinct: list[str]

    @classmethod
    def numbered(cls, numbers: NDArray[Any], strings: Sequence[str]) -> Strings:
        """Return the sequence of ``strings[number]``; strings may be the same, and some may be used by no number."""
        used = np.flatnonzero(np.bincount(numbers, minlength=len(strings)))
        merged: dict[str, int] = {}
        new = np.zeros(len(strings), np.int32)
        new[used] = [merged.setdefault(strings[number], len(merged)) for number in used.tolist()]
        return cls(new[numbers], list(merged))

    def renamed(self, rename: Callable[[str], str]) -> Strings:
        """Return the sequence with each string renamed."""
        return Strings.numbered(self.numbers, list(map(rename, self.distinct)))

    def counts(self) -> Counter[str]:
        """Return how often each string occurs."""
        return Counter(dict(zip(self.distinct, np.bincount(self.numbers).tolist(), strict=True)))

    def looked_up(self, table: Mapping[str, int], default: int) -> NDArray[np.int64]:
        """Return (W,) what a table has for each string."""
        return np.array([table.get(string, default) for string in self.distinct], np.int64)[self.numbers]


class StringSequences:
    """Sequences of strings, one after the other, which are numbered as they are added."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._numbers, self._lengths = array("i"), array("q")

    def add(self, sequence: Sequence[str]) -> None:
        """Add a sequence."""
        known = self._known
        self._numbers.extend([known.setdefault(string, len(known)) for string in sequence])
        self._lengths.append(len(sequence))

    @property
    def strings(self) -> Strings:
        """The strings of all sequences."""
        return Strings(np.array(self._numbers, np.int32), list(self._known))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many strings each sequence has: (N,)."""
        return np.array(self._lengths, np.int64)
