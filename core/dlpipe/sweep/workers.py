"""Worker processes; each executes several tasks, so that torch is imported only once per process."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from dlpipe.config.pipeline import Pipeline
from dlpipe.registry.targets import load_target
from dlpipe.runs.signals import StopSignals
from dlpipe.runs.stop_signals import STOP_SIGNALS

#: Seconds between two requests to stop; a worker that is still starting may miss the first one.
REPEAT = 1.0


@dataclass(frozen=True)
class TrialKey:
    """Where a run finds its trial in a search.

    Args:
        folder: of the search.
        metric: what trials are pruned by, such as "dev/digits/accuracy".
        pruner: see `dlpipe.sweep.settings.Search`.
    """

    folder: Path
    number: int
    metric: str
    pruner: str


@dataclass(frozen=True)
class Task:
    """One run of a sweep.

    Args:
        runs: the folder that contains the run folders.
        kind: "run" it; "build" all components but save nothing; or "describe" what decides the results of the
            pipeline, and its primary metric.
        since: when the sweep began; a run that has failed in another sweep since then is not repeated.
        wait: whether to wait for another sweep that is at work on the same run.
        trial: the trial of a search that the run is.
    """

    pipeline: Pipeline
    runs: Path
    _: KW_ONLY
    kind: Literal["run", "build", "describe"] = "run"
    fast: bool = False
    fresh: bool = False
    since: float = math.inf
    wait: bool = False
    trial: TrialKey | None = None


def work(
    tasks: Iterable[Task | None],
    jobs: int,
    signals: StopSignals,
    gpus: Sequence[str] = (),
    *,
    wait_for_others: bool = True,
) -> Generator[tuple[int, dict[str, Any]]]:
    """Execute all tasks, `jobs` at a time, and yield (index, outcome) in order of completion.

    The ``state`` of an outcome is "finished", "built", "described", "failed" or "pruned" (with a ``reason``), or
    "stopped". After a signal, no further task is started, and the running ones are asked to stop.

    Several sweeps can share the tasks: what another one is at work on is left to the end, and then its result is
    waited for and reused. Without waiting, it is tried again after tasks of this sweep have ended, so that the last
    sweep to end has all outcomes; else its state is "claimed".

    Args:
        tasks: taken one at a time, when a process is free; None if there is none before a running one has ended.
        gpus: as in ``CUDA_VISIBLE_DEVICES``; each process sees one of them, as evenly as possible.
        wait_for_others: see above.
    """
    upcoming, numbers = iter(tasks), itertools.count()
    waiting: list[tuple[int, int, Task]] = []  # a heap, by how many tasks had ended when they were tried
    busy: dict[Connection, tuple[_Worker, int, Task, int]] = {}
    idle: list[_Worker] = []
    ended = 0
    try:
        while True:
            while len(busy) < jobs and not signals.received:
                if task := next(upcoming, None):
                    index = next(numbers)
                elif waiting and (wait_for_others or waiting[0][0] < ended):
                    _, index, task = heapq.heappop(waiting)
                else:
                    break
                worker = idle.pop() if idle else _Worker(_least_used(gpus, [worker for worker, *_ in busy.values()]))
                with contextlib.suppress(ConnectionError):  # it has died meanwhile; its outcome says so
                    worker.connection.send(task)
                busy[worker.connection] = worker, index, task, ended
            if not busy:
                if not wait_for_others:
                    yield from ((index, {"state": "claimed"}) for _, index, _ in waiting)
                return
            if signals.received:
                for worker, *_ in busy.values():
                    worker.ask_to_stop()
            for connection in wait(list(busy), timeout=REPEAT):
                assert isinstance(connection, Connection)
                worker, index, task, tried = busy.pop(connection)
                outcome = worker.outcome(stopping=bool(signals.received))
                if worker.process.is_alive():
                    idle.append(worker)
                if outcome["state"] == "claimed":
                    heapq.heappush(waiting, (tried, index, replace(task, wait=wait_for_others)))
                else:
                    ended += 1
                    yield index, outcome
    finally:
        for worker, *_ in busy.values():  # only after an error here, or a second signal
            worker.process.kill()
        for worker in idle:
            worker.connection.close()


def _least_used(gpus: Sequence[str], workers: Sequence[_Worker]) -> str | None:
    used = [worker.gpu for worker in workers]
    return min(gpus, key=used.count, default=None)


class _Worker:
    """One process and the connection to it.

    Args:
        gpu: the only one that the process sees; None for all.
    """

    def __init__(self, gpu: str | None = None) -> None:
        self.gpu = gpu
        context = multiprocessing.get_context("spawn")
        resource_tracker.ensure_running()  # starting it later would unblock the signals
        self.connection, theirs = context.Pipe()
        # The new process starts with signals blocked, until it has left the process group of the terminal.
        known = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self.process: BaseProcess = context.Process(target=_serve, args=(theirs, gpu))
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, known)
        theirs.close()

    def ask_to_stop(self) -> None:
        self.process.terminate()

    def outcome(self, *, stopping: bool) -> dict[str, Any]:
        try:
            outcome: dict[str, Any] = self.connection.recv()
            return outcome
        except (EOFError, ConnectionError):
            self.process.join()
        code = self.process.exitcode or 0
        ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return {"state": "stopped"} if stopping else {"state": "failed", "reason": f"its process {ended}", "run": None}


def _serve(connection: Connection, gpu: str | None) -> None:
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before torch looks at it
    load_target("dlpipe.sweep.trial:serve")(connection)
