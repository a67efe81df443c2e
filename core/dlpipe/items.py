"""What a trained model is asked about: the items of arguments, files and streams, and why one could not be used."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dlpipe.errors import DlpipeError, InputError
from dlpipe.messages import counted

#: What Windows programs write at the start of a UTF-8 file.
BYTE_ORDER_MARK = "\ufeff"


class Item(NamedTuple):
    """One example as a person gives it.

    Args:
        place: where it comes from, for messages, such as ``sentences.txt:7``; of a file in a folder, its path.
        text: the item itself: a sentence, the name of a file.
        name: what answers call it, if not by its text.
        argument: whether it is an argument of a command; to data of texts, one that ends with ``/`` names a folder.
    """

    place: str
    text: str
    name: str | None = None
    argument: bool = False

    @property
    def shown(self) -> str:
        """What answers call it."""
        return self.text if self.name is None else self.name


@dataclass(frozen=True)
class FailedItem:
    """An item that could not be used, in the place of its answer.

    Args:
        place: where it comes from.
        item: what answers call it.
        error: why.
    """

    place: str
    item: str
    error: DlpipeError

    def __str__(self) -> str:
        reason = str(self.error)
        return reason if reason.startswith(self.place) else f"{self.place}: {reason}"

    def plain(self) -> dict[str, str]:
        """Return it as an answer of plain values."""
        return {"item": self.item, "error": str(self.error)}


def unusable(failed: int, count: int | None = None) -> str:
    """Return ``3 of 6 items could not be used``, without the 6 where an item may have several answers."""
    return f"{counted(failed, 'item') if count is None else f'{failed} of {count} items'} could not be used"


def from_arguments(arguments: Sequence[str]) -> list[Item]:
    """Return the items of a command line."""
    return [Item(f"item {number}", text, argument=True) for number, text in enumerate(arguments, start=1)]


def from_file(path: Path) -> Iterator[Item | FailedItem]:
    """Yield the lines of a text file; it is never in memory as a whole.

    Raises:
        InputError: it cannot be read, contains nothing, or is no text.
    """
    try:
        with path.open("rb") as file:
            yield from _lines(file, f"{path}:", str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read as text: {error.strerror or error}") from error


def from_standard_input() -> Iterator[Item | FailedItem]:
    """Yield the lines of standard input as they come.

    Raises:
        InputError: it is closed, empty, or no text.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("standard input is closed; give items as arguments, or a file with --file")
    yield from _lines(sys.stdin.buffer, "line ", "standard input")


def _lines(stream: Iterable[bytes], before: str, whole: str) -> Iterator[Item | FailedItem]:
    """Yield the lines of a stream; one that is not UTF-8 cannot be used, the others can."""
    number = 0
    for number, line in enumerate(stream, start=1):
        if b"\0" in line:  # an image, or UTF-16: thousands of errors would say the same
            raise InputError(f"{whole} cannot be read as text: line {number} has a NUL byte; expected UTF-8 text")
        place = f"{before}{number}"
        try:
            # Only a line feed ends a line: str.splitlines() would split at U+0085, too.
            text = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
            yield Item(place, text.removeprefix(BYTE_ORDER_MARK) if number == 1 else text)
        except UnicodeDecodeError as error:
            shown = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
            problem = f"byte {error.start + 1} of the line, 0x{line[error.start]:02x}, is not UTF-8 text"
            yield FailedItem(place, shown, InputError(f"{problem}; convert the file to UTF-8"))
    if not number:
        raise InputError(f"{whole} is empty; expected items, one per line")
