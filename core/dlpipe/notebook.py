"""The output of a cell of a notebook: the messages of a run and, below them, how far it is.

A notebook is not a terminal: nothing can be drawn over, and each piece of output stays in the file. So all of it is one
output, which is replaced at most once a second; that needs no widgets.
"""

from __future__ import annotations

import html
import importlib
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

#: Seconds between two times that the output is replaced.
INTERVAL = 1.0
#: The lines that are shown; the others are in the log of the run.
MAX_LINES = 200
_STYLE = "white-space:pre-wrap;line-height:normal;margin:0"


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook; IPython in a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


class NotebookOutput:
    """A text stream that is one output of a cell; what is written appears within a second, or at its end."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._rest, self._status = "", ""
        self._handle: Any = None
        self._drawn_at, self._drawn = -INTERVAL, ""
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Add text."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            self._lines += lines
            self._draw(at_once=False)
        return len(text)

    def flush(self) -> None:
        """Do nothing; see `close`."""

    def isatty(self) -> bool:
        """Return False: nothing can be drawn over."""
        return False

    def show(self, status: Sequence[str]) -> None:
        """Show how far something is, below the text."""
        with self._lock:
            self._status = "\n".join(status)
            self._draw(at_once=False)

    def close(self) -> None:
        """Show all text, and no longer how far something is."""
        with self._lock:
            self._status = ""
            self._draw(at_once=True)

    def _draw(self, *, at_once: bool) -> None:
        left_out = len(self._lines) - MAX_LINES
        lines = [f"… {left_out:,} earlier lines"] * (left_out > 0) + self._lines[-MAX_LINES:]
        text = "\n".join([*lines, *filter(None, (self._rest, self._status))])
        if text == self._drawn or not (at_once or time.monotonic() - self._drawn_at >= INTERVAL):
            return
        self._drawn, self._drawn_at = text, time.monotonic()
        content = {"text/plain": text, "text/html": f'<pre style="{_STYLE}">{html.escape(text)}</pre>'}
        if self._handle is None:
            display = importlib.import_module("IPython.display").display
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
