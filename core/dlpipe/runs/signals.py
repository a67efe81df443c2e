"""Requests to stop: obeyed after the current step, or at once where nothing can be lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

from dlpipe.errors import Interrupted, Preempted
from dlpipe.runs.stop_signals import INTERRUPTED, PREEMPTED, STOP_SIGNALS

#: What `StopSignals.received` is after Ctrl-C.
INTERRUPT = "SIGINT"


class StopSignals:
    """While entered, a signal that asks to stop sets `received`; a second one ends the process at once.

    Outside the main thread, where Python receives no signals, it does nothing.

    Args:
        notice: called once with what was received.
        at_once: if given, the first signal calls it with the name of the signal and has its usual effect, except
            within `deferring`.
    """

    def __init__(
        self, notice: Callable[[str], None] = lambda message: None, at_once: Callable[[str], None] | None = None
    ) -> None:
        self.received = ""
        self._notice, self._at_once = notice, at_once
        self._deferring = at_once is None
        self._process = os.getpid()
        self._previous: dict[signal.Signals, object] = {}

    @property
    def interrupted(self) -> bool:
        """Whether the user pressed Ctrl-C."""
        return self.received == INTERRUPT

    def check(self, when: str = "") -> None:
        """Raise an error if a signal has been received.

        Args:
            when: the end of its message, such as ``" after step 5"``.

        Raises:
            Interrupted: it was Ctrl-C.
            Preempted: it was another one.
        """
        if received := self.received:
            raise (Interrupted if self.interrupted else Preempted)(f"stopped by {received}{when}")

    @contextlib.contextmanager
    def deferring(self) -> Iterator[None]:
        """Let signals wait, as a checkpoint has to be saved first."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = self._at_once is None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a process that a component has forked; its parent decides
            return
        self.received = signal.Signals(number).name
        self._restore()  # a second signal has its usual effect
        if self._at_once and not self._deferring:
            self._at_once(self.received)
            if signal.getsignal(number) is signal.SIG_IGN:  # in the background, or a process of a sweep
                os._exit(INTERRUPTED if self.interrupted else PREEMPTED)
            signal.raise_signal(number)
            return
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)  # which leaves the terminal as it was
        # The program may be in the middle of writing to the same stream; then the notice is skipped.
        with contextlib.suppress(RuntimeError):
            self._notice(f"{self.received}: saving a checkpoint after this step; a second one stops at once")

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
