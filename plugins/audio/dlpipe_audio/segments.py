"""Recordings of words and sentences: who says what, and where it comes from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Segment:
    """A spoken word, or all that is said in a recording.

    Args:
        name: what a person calls it, such as its file.
        word: what is said.
        speaker: who says it.
        phones: the sounds of it; none if they are not known.
        start: where it begins in its file, in seconds.
        end: where it ends, in seconds; None at the end of the file.
        file: the audio file, if it comes from one.
    """

    name: str
    word: str
    speaker: str
    phones: tuple[str, ...] = ()
    start: float = 0.0
    end: float | None = None
    file: str = ""


class Utterances(Protocol):
    """Speech with who says what.

    Attributes:
        splits: names of the splits.
        rate_hz: samples per second of all waveforms.
        clipped: names of the words read so far that are clipped.
    """

    @property
    def splits(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def clipped(self) -> Collection[str]: ...  # noqa: D102

    rate_hz: int

    def segments(self, split: str) -> Sequence[Segment]:
        """Return the words of a split."""

    def waveform(self, segment: Segment) -> Tensor:
        """Return the samples (S,) of a word, -1 to 1.

        Raises:
            DataError: it cannot be read or used.
        """

    def digest(self) -> str:
        """Return a string that changes if anything said or recorded does."""


class Source(Utterances, Protocol):
    """Where recordings come from, and what else a person names."""

    def item(self, item: str) -> Tensor:
        """Return the samples (S,) of what a person names.

        Raises:
            InputError: it cannot be read or used.
        """
