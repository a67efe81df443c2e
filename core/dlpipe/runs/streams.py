"""Output that never ends a training, whether or not anybody reads it."""

from __future__ import annotations

import contextlib
from typing import Any, TextIO, cast


def unfailing(stream: TextIO) -> TextIO:
    """Return a stream that discards what `stream` does not take: it is closed, nobody reads it, or its disk is full."""
    return cast(TextIO, _Unfailing(stream))


class _Unfailing:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        return not self._stream.closed and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
