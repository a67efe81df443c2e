"""Output that never ends a training, whether or not anybody reads it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TextIO, cast


def unfailing(stream: TextIO, *errors: type[Exception]) -> TextIO:
    """Return a stream that discards what `stream` does not take: it is closed, nobody reads it, or its disk is full.

    Args:
        errors: for which it does so; by default, all of these.
    """
    return cast(TextIO, _Unfailing(stream, errors or (OSError, ValueError)))


def is_read(stream: TextIO) -> bool:
    """Return whether a stream has taken everything so far; a usual one has, or it has raised an error."""
    return not (isinstance(stream, _Unfailing) and stream.has_discarded)


class _Unfailing:
    def __init__(self, stream: TextIO, errors: tuple[type[Exception], ...]) -> None:
        self._stream, self._errors, self.has_discarded = stream, errors, False

    def write(self, text: str) -> int:
        with self._discarding():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._discarding():
            self._stream.flush()

    def isatty(self) -> bool:
        return not self._stream.closed and self._stream.isatty()

    @contextlib.contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except self._errors:
            self.has_discarded = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
