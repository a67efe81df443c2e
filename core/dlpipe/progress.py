"""What takes long says how far it is: lines that are redrawn on a terminal and in a notebook, one a minute elsewhere.

For data, evaluators and trainers of plugins, too::

    for path in tracked(paths, "reading images"):
        ...

The work only counts; a thread of its own looks at the counts and draws, so that an item costs an addition. Where an
evaluation can be stopped, it stops before an item.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TextIO, TypeVar, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dlpipe.messages import printable, shown_size
from dlpipe.notebook import INTERVAL, NotebookOutput, in_notebook

__all__ = ["Activity", "activity", "tracked"]

#: Seconds until something is drawn on a terminal, and between two redraws.
AFTER, REDRAW = 0.5, 0.5
#: Seconds until the first line where nobody watches, and between two lines.
FIRST, EVERY = 5.0, 60.0
#: The unit of what is counted in bytes.
BYTES = "bytes"
BAR_WIDTH = 20
Item = TypeVar("Item")


@dataclass
class Activity:
    """Something that takes long.

    Args:
        label: what is done, such as "reading images".
        total: number of items, None if it is not known.
        unit: "bytes", or empty for other items.
        done: number of items so far; whoever does the work adds to it.
        position: returns `done` instead, where something else counts already.
        detail: returns what else to show.
        left: returns the seconds left, where something else than `total` ends it.
    """

    label: str
    total: int | None = None
    unit: str = ""
    done: int = 0
    position: Callable[[], int] | None = None
    detail: Callable[[], str] | None = None
    left: Callable[[], float | None] | None = None

    def __post_init__(self) -> None:
        self._started, self._began_at = time.monotonic(), self.now_done()

    def now_done(self) -> int:
        """Return the number of items so far."""
        return self.position() if self.position else self.done

    def clock(self) -> str:
        """Return the time since it began, such as ``0:07`` or ``1:02:03``."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

    def counts(self) -> str:
        """Return what is done, such as ``reading images 20/200``."""
        done, shown = self.now_done(), shown_size if self.unit == BYTES else lambda count: f"{count:.0f}"
        numbers = f"{shown(done)}/{shown(self.total)}" if self.total else shown(done) if done else ""
        return " ".join(filter(None, (printable(self.label), numbers)))

    def pace(self) -> str:
        """Return the rate, the time left as far as it is known, and the details."""
        done, seconds = self.now_done(), time.monotonic() - self._started
        rate = (done - self._began_at) / seconds if seconds > 0 else 0.0
        left = self.left() if self.left else None
        if left is None and self.total and rate > 0:
            left = (self.total - done) / rate
        parts = [f"{shown_size(rate) if self.unit == BYTES else f'{rate:.3g}'}/s"] if rate > 0 else []
        parts += [f"{shown_time(max(left, 0.0))} left"] if left is not None else []
        return "  ".join(filter(None, [", ".join(parts), printable(self.detail()) if self.detail else ""]))


class Display:
    """Shows the activities of this process, the ones within others below them.

    Args:
        console: where; standard error by default.
        quiet: show nothing.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet or (console is not None and console.quiet)
        self._activities: list[Activity] = []
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def showing(self, shown: Activity) -> Iterator[Activity]:
        """Show an activity while the block runs."""
        self.add(shown)
        try:
            yield shown
        finally:
            self.remove(shown)

    def add(self, shown: Activity) -> None:
        """Start to show an activity."""
        if self._quiet:
            return
        with self._lock:
            self._activities.append(shown)
            if self._thread is None:
                self._ended = threading.Event()
                self._thread = threading.Thread(target=self._draw, args=(self._ended,), daemon=True)
                self._thread.start()

    def replace(self, shown: Activity) -> None:
        """Show an activity in place of all that are shown, as the next phase of some work."""
        with self._lock:
            self._activities.clear()
            self.add(shown)

    def remove(self, shown: Activity) -> None:
        """Stop showing an activity, and all within it."""
        with self._lock:
            if shown in self._activities:
                del self._activities[self._activities.index(shown) :]
            if self._activities:
                return
        self.stop()

    def stop(self) -> None:
        """Stop showing anything, and leave the terminal as it was."""
        with self._lock:
            self._activities.clear()
            thread, self._thread = self._thread, None
            self._ended.set()
        if thread and thread is not threading.current_thread():
            thread.join(timeout=1.0)  # no longer, as a signal may have interrupted whoever holds the console

    def lines(self) -> list[str]:
        """Return what a line says of each activity."""
        with self._lock:
            return ["  ".join(filter(None, (each.counts(), each.pace() or each.clock()))) for each in self._activities]

    def _draw(self, ended: threading.Event) -> None:
        """Draw until there is nothing to show; runs in a thread of its own."""
        console = self._console or make_console(sys.stderr)
        if isinstance(console.file, NotebookOutput):
            while not ended.wait(INTERVAL):
                console.file.show(self.lines())
            console.file.close()
            return
        if not console.is_terminal:
            wait = FIRST
            while not ended.wait(wait):
                if lines := self.lines():
                    console.print("; ".join(lines), markup=False, emoji=False, soft_wrap=True)
                wait = EVERY
            return
        if ended.wait(AFTER):
            return
        with Live(self._rendered(), console=console, transient=True, auto_refresh=False) as live:
            while not ended.wait(REDRAW):
                live.update(self._rendered(), refresh=True)

    def _rendered(self) -> RenderableType:
        with self._lock:
            activities = list(self._activities)
        rows = []
        for each in activities:
            row = Table.grid(padding=(0, 1))
            row.add_column(no_wrap=True)
            cells: list[RenderableType] = [Text(each.counts())]
            if each.total:
                row.add_column(width=BAR_WIDTH, no_wrap=True)
                cells.append(ProgressBar(each.total, min(each.now_done(), each.total), width=BAR_WIDTH))
            row.add_column(no_wrap=True)  # the time moves, whatever else does not
            row.add_column()  # the only one that gives way on a narrow terminal
            row.add_row(*cells, Text(each.clock()), Text(each.pace(), no_wrap=True, overflow="ellipsis"))
            rows.append(row)
        return Group(*rows)


def make_console(stream: TextIO) -> Console:
    """Return what messages and progress are written to: a stream or, in a notebook, an output of the cell."""
    if in_notebook():
        output = cast(TextIO, NotebookOutput())
        # The kernel sets FORCE_COLOR, which would put the codes of a terminal into the text.
        return Console(file=output, soft_wrap=True, force_jupyter=False, force_terminal=False, color_system=None)
    return Console(file=stream, highlight=False, soft_wrap=True)


def _never_stop() -> None:
    """Let the work continue."""


_current = Display()
_check_stop: Callable[[], None] = _never_stop


def _be_quiet() -> None:
    """Show nothing in a forked process: it has a copy of the display, perhaps locked, and not its thread."""
    global _current
    _current = Display(quiet=True)


os.register_at_fork(after_in_child=_be_quiet)


@contextmanager
def displayed_by(display: Display) -> Iterator[None]:
    """Let `display` show what `tracked` and `activity` report while the block runs."""
    global _current
    before, _current = _current, display
    try:
        yield
    finally:
        _current = before
        display.stop()


@contextmanager
def stopped_by(check: Callable[[], None]) -> Iterator[None]:
    """Let `tracked` call `check` before each item while the block runs: it raises an error if the work has to stop."""
    global _check_stop
    before, _check_stop = _check_stop, check
    try:
        yield
    finally:
        _check_stop = before


def activity(label: str, total: int | None = None, *, unit: str = "") -> AbstractContextManager[Activity]:
    """Show that something takes long, as a context manager; add to ``done`` of what it returns.

    Args:
        label: what is done, such as "drawing figures".
        total: number of items, None if it is not known.
        unit: "bytes", or empty for other items.

    Example::

        with activity("downloading", size, unit="bytes") as shown:
            shown.done += len(chunk)
    """
    return _current.showing(Activity(label, total, unit))


def tracked(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Return an iterator over `items` that shows how far it is; in an evaluation, a signal ends it before an item.

    Args:
        label: what is done, such as "reading images".
        total: number of items; by default their length, where they have one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with activity(label, total) as shown:
        for item in items:
            _check_stop()
            yield item
            shown.done += 1


def shown_time(seconds: float) -> str:
    """Return a time for a person, such as ``3 min 20 s``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
