"""A file whose lines repeat, such as one with a word and its tag in each: what is in a line is found out once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlpipe.errors import DataError


class DistinctLines:
    """The lines of a file, as numbers of its distinct lines, which are in the order of their first occurrence.

    Args:
        path: of the file, which has at least one line.
        decode: returns the text of a line, given its bytes, where it is, and the offset of its first byte; or raises.

    Attributes:
        numbers: (L,) which of `texts` each of the L lines is.
        texts: the distinct lines.
    """

    def __init__(self, path: Path, decode: Callable[[bytes, str, int], str]) -> None:
        known = _Numbers()
        with path.open("rb") as file:
            first = next(file)  # apart from the others, as it may start with a byte order mark
            others = np.fromiter(map(known.__getitem__, file), np.int32)
        self.numbers: NDArray[np.int32] = np.concatenate([np.zeros(1, np.int32), others + 1])
        self.texts = [decode(first, f"{path}:1", 0)]
        lines = [first, *known]
        for number, line in enumerate(known, start=1):
            try:
                self.texts.append(decode(line, str(path), len(first)))
            except DataError:  # now it is worth finding out where the line is
                row = self.first_row(number)
                sizes = np.array(list(map(len, lines)))
                self.texts.append(decode(line, f"{path}:{row + 1}", int(sizes[self.numbers[:row]].sum())))

    def first_row(self, number: int) -> int:
        """Return the row, from 0, of the first of the lines with this number."""
        return int(np.argmax(self.numbers == number))


class _Numbers(dict[bytes, int]):
    """Numbers of lines, from 0."""

    def __missing__(self, line: bytes) -> int:
        self[line] = number = len(self)
        return number
