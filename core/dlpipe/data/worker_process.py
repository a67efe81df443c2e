"""A process that reads data for a DataLoader: how it takes signals, how it ends, and how it says what went wrong."""

from __future__ import annotations

import copy
import ctypes
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any
from weakref import WeakSet

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from dlpipe.errors import in_words, place_of
from dlpipe.launch import usable_cores
from dlpipe.runs.stop_signals import STOP_SIGNALS

#: The option of Linux's prctl for the signal that a process gets when its parent ends.
PR_SET_PDEATHSIG = 1
#: More workers than this read faster than one GPU trains, as a rule.
MOST_WORKERS = 8


#: What this process reads with, in use or not collected yet.
_READING: WeakSet[Any] = WeakSet()


def _leave_to_parent() -> None:
    """Keep a forked process from ending the workers of its parent when it collects its copies of what reads there."""
    for items in list(_READING):
        items._shutdown = True


os.register_at_fork(after_in_child=_leave_to_parent)


def default_workers() -> int:
    """Return how many processes read data whose files are decoded, unless the user says it: one core is left."""
    return min(usable_cores() - 1, MOST_WORKERS)


def begin_worker(number: int) -> None:
    """Prepare a worker process; a `worker_init_fn` of a DataLoader.

    A signal to the whole group of processes (Ctrl-C, Slurm) is for the main process, which still needs its batches
    until it has saved a checkpoint. When the main process ends, whatever ends it, the worker ends.
    """
    for stop in STOP_SIGNALS:
        if stop != signal.SIGTERM:
            signal.signal(stop, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # torch's own handler ends a worker at a SIGTERM from anyone, but its parent must still be able to.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_if_terminated_by, args=(os.getppid(),), daemon=True).start()


def _end_if_terminated_by(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


@dataclass
class Failure:
    """What a worker sends instead of a batch: the exception that it raised, with its traceback as a note."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return a failure that reaches the main process; torch would replace its text by that of its traceback."""
        place = place_of(error)
        try:
            ForkingPickler.dumps(copy.copy(error))  # whether it can be sent, and built again from its arguments
        except Exception:
            error = RuntimeError(in_words(error)).with_traceback(error.__traceback__)
        error.add_note("In a worker process:\n" + "".join(traceback.format_exception(error)))
        error.raised_at = place  # type: ignore[attr-defined]
        return cls(error)


class Reader:
    """Reads the items of a dataset, in this process or in worker processes that are kept between passes.

    Args:
        dataset: indexed by what `read` is given, or an `IterableDataset` that gives a pass by itself. In a worker, its
            items may be a `Failure`.
        workers: number of processes; 0 reads in this one.

    Attributes:
        busy: whether a pass is going on; there can be one at a time.
    """

    def __init__(self, dataset: Dataset[Any], workers: int, *, pin_memory: bool) -> None:
        self.busy = False
        self._plan: list[Any] = []
        self._loader = DataLoader(
            dataset,
            batch_size=None,
            sampler=None if isinstance(dataset, IterableDataset) else self._plan,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=begin_worker,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # its own, so that it leaves the global one alone
        )
        self._items: Iterator[Any] | None = None

    def read(self, plan: Iterable[Any] = ()) -> Iterator[Any]:
        """Yield the items with these indices.

        Raises:
            Exception: what reading an item raised, also in a worker.
        """
        self.busy, self._plan[:] = True, plan
        try:
            self._items = iter(self._loader)
            _READING.add(self._items)
            for item in self._items:
                if isinstance(item, Failure):
                    raise item.error
                yield item
        except Exception:
            self.close()
            raise
        finally:
            self.busy = False

    def close(self) -> None:
        """End the workers now, not when they are collected: an exception may keep them for long."""
        if end := getattr(self._items, "_shutdown_workers", None):  # there is none if this process reads
            end()
        self._items = None
