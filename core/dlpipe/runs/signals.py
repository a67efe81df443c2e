"""Requests to stop: noticed at once, obeyed after the current step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

#: What `StopSignals.received` is after Ctrl-C.
INTERRUPT = "SIGINT"


class StopSignals:
    """While entered, SIGINT, SIGTERM and SIGUSR1 set `received`; a second one ends the process at once.

    Outside the main thread, where Python receives no signals, it does nothing.

    Args:
        notice: called once with what was received.
    """

    def __init__(self, notice: Callable[[str], None] = lambda message: None) -> None:
        self.received = ""
        self._notice = notice
        self._previous: dict[signal.Signals, object] = {}

    @property
    def interrupted(self) -> bool:
        """Whether the user pressed Ctrl-C."""
        return self.received == INTERRUPT

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        self._restore()  # a second signal has its usual effect
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)  # which leaves the terminal as it was
        # The program may be in the middle of writing to the same stream; then the notice is skipped.
        with contextlib.suppress(RuntimeError):
            self._notice(f"{self.received}: saving a checkpoint after this step; a second one stops at once")

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
