"""Worker processes; each executes several tasks, so that torch is imported only once per process."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dlpipe.config.pipeline import Pipeline
from dlpipe.registry.targets import load_target
from dlpipe.runs.signals import StopSignals
from dlpipe.runs.stop_signals import STOP_SIGNALS

#: Seconds between two requests to stop; a worker that is still starting may miss the first one.
REPEAT = 1.0


@dataclass(frozen=True)
class Task:
    """One run of a sweep.

    Args:
        runs: the folder that contains the run folders.
        dry: build all components but save nothing.
        since: when the sweep began; a run that has failed in another sweep since then is not repeated.
        wait: whether to wait for another sweep that is at work on the same run.
    """

    pipeline: Pipeline
    runs: Path
    fast: bool = False
    fresh: bool = False
    dry: bool = False
    since: float = math.inf
    wait: bool = False


def work(
    tasks: Sequence[Task], jobs: int, signals: StopSignals, gpus: Sequence[str] = (), *, wait_for_others: bool = True
) -> Generator[tuple[int, dict[str, Any]]]:
    """Execute all tasks, `jobs` at a time, and yield (index, outcome) in order of completion.

    The ``state`` of an outcome is "finished", "built", "failed" (with a ``reason``) or "stopped". After a
    signal, no further task is started, and the running ones are asked to stop.

    Several sweeps can share the tasks: what another one is at work on is left to the end, and then its result is
    waited for and reused; or its state is "claimed".

    Args:
        gpus: as in ``CUDA_VISIBLE_DEVICES``; each process sees one of them, as evenly as possible.
        wait_for_others: see above.
    """
    waiting = deque(enumerate(tasks))
    busy: dict[Connection, tuple[_Worker, int]] = {}
    idle: list[_Worker] = []
    try:
        while True:
            while waiting and len(busy) < jobs and not signals.received:
                worker = idle.pop() if idle else _Worker(_least_used(gpus, [worker for worker, _ in busy.values()]))
                index, task = waiting.popleft()
                with contextlib.suppress(ConnectionError):  # it has died meanwhile; its outcome says so
                    worker.connection.send(task)
                busy[worker.connection] = worker, index
            if not busy:
                return
            if signals.received:
                for worker, _ in busy.values():
                    worker.ask_to_stop()
            for connection in wait(list(busy), timeout=REPEAT):
                assert isinstance(connection, Connection)
                worker, index = busy.pop(connection)
                outcome = worker.outcome(stopping=bool(signals.received))
                if worker.process.is_alive():
                    idle.append(worker)
                if outcome["state"] == "claimed" and wait_for_others:
                    waiting.append((index, replace(tasks[index], wait=True)))
                else:
                    yield index, outcome
    finally:
        for worker, _ in busy.values():  # only after an error here, or a second signal
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
