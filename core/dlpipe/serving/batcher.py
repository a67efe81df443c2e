"""Batching of requests: a queue of limited length, and one thread that runs the model."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from dlpipe.errors import DlpipeError

Answer = dict[str, Any]


class Item(NamedTuple):
    """What a client asks about.

    Args:
        text: the item itself, or the name of a file.
        content: of the file; None for data whose items are text.
    """

    text: str
    content: bytes | None = None


class QueueFull(DlpipeError):
    """There are more items waiting than the server wants to keep."""


#: Answers items that go through the model together: an answer for each, or the error that it causes.
Run = Callable[[Sequence[Item]], Sequence[Answer | Exception]]


class Batcher:
    """Collects items and runs them in batches, all in one thread, since components need not be safe for several.

    Args:
        run: answers a batch.
        batch_size: most items of a batch.
        max_wait_s: how long an item waits for others.
        capacity: most items that wait.
    """

    def __init__(self, run: Run, *, batch_size: int, max_wait_s: float, capacity: int) -> None:
        self._run, self._batch_size, self._max_wait_s, self.capacity = run, batch_size, max_wait_s, capacity
        self._waiting: deque[tuple[Item, Future[Answer]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, items: Sequence[Item]) -> list[Future[Answer]]:
        """Queue items, all or none, and return their answers to come.

        Raises:
            QueueFull: there is no room for them.
        """
        with self._changed:
            if self._closed or len(self._waiting) + len(items) > self.capacity:
                raise QueueFull(f"{len(self._waiting)} items are waiting, of at most {self.capacity}; try again later")
            entries: list[tuple[Item, Future[Answer]]] = [(item, Future()) for item in items]
            self._waiting.extend(entries)
            self._changed.notify_all()
        return [future for _, future in entries]

    def close(self) -> None:
        """Answer what is waiting, and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            # A client that has left is not answered; from here on the others cannot leave.
            batch = [entry for entry in batch if entry[1].set_running_or_notify_cancel()]
            if not batch:
                continue
            answers = self._answers([item for item, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _answers(self, items: Sequence[Item]) -> Sequence[Answer | Exception]:
        """Run a batch; if the model raises an error, run each item by itself, as one of them is the cause."""
        try:
            return self._run(items)
        except Exception as error:
            return [error] if len(items) == 1 else [each for item in items for each in self._answers([item])]

    def _next(self) -> list[tuple[Item, Future[Answer]]]:
        """Wait for items and return a batch; an empty one if the batcher is closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._changed.wait_for(
                lambda: len(self._waiting) >= self._batch_size or self._closed, timeout=self._max_wait_s
            )
            return [self._waiting.popleft() for _ in range(min(self._batch_size, len(self._waiting)))]
