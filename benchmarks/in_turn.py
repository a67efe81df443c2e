"""What the benchmarks of steps share: loops that take turns, dlpipe's among them, and the tables of their times.

A training loop is a function that runs a given number of steps. The loops run blocks of steps in alternation, so that
changes in the speed of the machine affect all of them. A loop with an interface of its own, such as dlpipe's or a
library's, is paused at the end of a block by a greenlet (`pip install greenlet`), so that no block includes its start
or its end. A thread would do the same, but allocates from another heap of malloc, at another cost. Times are CPU times
of the process. Every block is printed; a table has the median and the quartiles over all blocks, never the best ones.
The hand-written loop runs twice: the difference between the two is the noise, and ratios refer to the median over both.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from dlpipe.config.settings import LoopOptions
from dlpipe.protocols import Trainer
from dlpipe.registry.hooks import RunView
from dlpipe.runs.checkpoint import Checkpoints
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.runs.signals import StopSignals
from dlpipe.training.callbacks import Callbacks
from dlpipe.training.loop import Loop
from dlpipe.training.progress import Progress

#: Takes so many steps.
Steps = Callable[[int], None]
#: The CPU seconds of a step in each block, by loop.
Times = Mapping[str, Sequence[float]]
RAW, RAW_AGAIN = "hand-written", "hand-written, again"
#: The hand-written loop with dlpipe's optimizer in place of torch's.
RAW_LEAN = "hand-written, dlpipe's optimizer"
ENDLESS, RECREATIONS = 10**9, 5
_orders = itertools.count()
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


class Paused:
    """Takes steps of a loop that somebody else wrote, which calls a function after each step: there it is paused."""

    def __init__(self, fit: Callable[[Callable[[], None]], None]) -> None:
        from greenlet import greenlet  # which not every benchmark needs

        self._allowed = 0
        self._loop = greenlet(lambda: fit(self._passed))

    def __call__(self, count: int) -> None:
        self._allowed = count
        self._loop.switch()
        if self._loop.dead:
            raise RuntimeError("the loop ended")

    def _passed(self) -> None:
        """Count a step, and wait for the next block."""
        self._allowed -= 1
        if not self._allowed:
            self._loop.parent.switch()


def in_loop(trainer: Trainer, folder: Path, **options: Any) -> Steps:
    """Return a function that takes steps in dlpipe's loop, log points and metrics.jsonl included.

    There are no checkpoints, which checkpoint_cost.py measures.
    """

    def fit(passed: Callable[[], None]) -> None:
        def counted(steps: Iterator[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
            for metrics in steps:
                yield metrics
                passed()

        loop = Loop(
            trainer,
            LoopOptions(steps=ENDLESS, checkpoint_every=ENDLESS, **options),
            evaluators={},
            dev=None,
            checkpoints=Checkpoints(folder),
            log=MetricsLog(folder / "metrics.jsonl"),
            callbacks=Callbacks({}, RunView("benchmark", folder, 0, 0, lambda reason: None), print),
            progress=Progress(folder / "log.txt", Console(quiet=True)),
            signals=StopSignals(),
            samples=folder / "samples",
            find_nan=lambda step: "",
        )
        loop.watch_steps(counted)
        loop.run()

    return Paused(fit)


def own_order() -> torch.Generator:
    """Return a generator for the order of the examples that no other loop has, as dlpipe has one of its own.

    Of two loops with the same order, the second one finds the examples of a block in the caches.
    """
    return torch.Generator().manual_seed(next(_orders))


def take_turns(loops: Mapping[str, Steps], block: int, rounds: int) -> dict[str, list[float]]:
    """Take blocks of steps in turn, and return the CPU seconds of a step in each block."""
    times: dict[str, list[float]] = {name: [] for name in loops}
    for steps in loops.values():
        steps(block)  # warm up
    for turn in range(rounds):
        for name in list(loops) if turn % 2 else reversed(loops):
            started = time.process_time()
            loops[name](block)
            times[name].append((time.process_time() - started) / block)
    return times


def take_turns_recreated(
    make: Callable[[Path], Mapping[str, Steps]], block: int, rounds: int
) -> dict[str, list[float]]:
    """Take turns with loops that are recreated several times, since the location of their memory changes the time.

    Args:
        make: returns new loops, given a folder for what they write.
    """
    times: dict[str, list[float]] = {}
    for _ in range(RECREATIONS):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            for name, values in take_turns(make(Path(folder)), block, -(-rounds // RECREATIONS)).items():
                times.setdefault(name, []).extend(values)
    return times


def base_of(times: Times) -> float:
    """Return the median time of a step of the hand-written loop, over both of its measurements."""
    return statistics.median([*times[RAW], *times[RAW_AGAIN]])


def compare(title: str, loops: Mapping[str, Steps], block: int, rounds: int) -> Times:
    """Take blocks of steps in turn, print their times and return them."""
    times = take_turns(loops, block, rounds)
    show(title, times, block)
    return times


def show(title: str, times: Times, block: int) -> None:
    """Print the time of every block in the order in which they ran, and what the table will say."""
    print(f"{title}: {len(times[RAW])} blocks of {block} steps, CPU us per step")
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        ratio, extra = median / base_of(times), median - base_of(times)
        print(f"  {name}: median {median * 1e6:.1f} ({low * 1e6:.1f} to {high * 1e6:.1f}), ", end="")
        print(f"ratio {ratio:.3f}, {extra * 1e6:+.1f}; all: {' '.join(f'{each * 1e6:.1f}' for each in values)}")


def row(title: str, times: Times, name: str) -> str:
    """Return the row of a table: median, quartiles, ratio and difference to the hand-written loop."""
    low, median, high = statistics.quantiles(times[name], n=4)
    difference = median - base_of(times)
    return (
        f"| {title} | {duration(median)} | {duration(low)} to {duration(high)} | {median / base_of(times):.3f} | "
        f"{'+' if difference >= 0 else '−'}{duration(abs(difference))} |"
    )


def rows(measured: Mapping[str, Times], note: str = "") -> str:
    """Return a table with the times of several comparisons, by their titles."""
    lines = ["| | median | quartiles | ratio | extra |", "|---|---|---|---|---|"]
    for title, times in measured.items():
        lines.append(f"| **{title}** | | | | |")
        lines += [row(name, times, name) for name in times]
    return note + "\n".join(lines) + "\n"


def duration(seconds: float) -> str:
    """Return a time in a unit that fits it."""
    return f"{seconds * 1e3:.2f} ms" if seconds >= 0.01 else f"{seconds * 1e6:.1f} µs"


def machine() -> str:
    """Return the date, the CPU, how busy it is, and the versions: what a figure means nothing without."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux
        pass
    return (
        f"{datetime.date.today():%d %B %Y}, {cpu}, {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, torch {torch.__version__.partition('+')[0]}"
    )


def run(doc: str, measure: Callable[[int], str], rounds: int, *, threads: int | None = 1) -> None:
    """Run a benchmark from the command line: print its table, and put it into docs/performance.md with ``--write``.

    Args:
        doc: the docstring of the module.
        measure: returns the table, given the number of rounds.
        rounds: unless ``--rounds`` says otherwise.
        threads: of torch; None leaves them as they are.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds, help=f"measurements of each (default: {rounds})")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    before = machine()
    if threads:
        torch.set_num_threads(threads)
        before += f", threads: {threads}"
    script = Path(sys.argv[0]).name
    found = f"`python benchmarks/{script} --rounds {options.rounds}` ({before}):\n\n{measure(options.rounds)}"
    print(f"\n{found}")
    if options.write:
        write(script, found)


def write(script: str, found: str, page: Path = PAGE) -> None:
    """Replace what a benchmark wrote into the page before."""
    begin, end = f"<!-- written by benchmarks/{script} -->\n", f"<!-- end of benchmarks/{script} -->\n"
    text = page.read_text(encoding="utf-8")
    replaced, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: begin + found + end, text, flags=re.S)
    if count != 1:
        raise SystemExit(f"{page} has {count} times the lines\n{begin}{end}expected once")
    page.write_text(replaced, encoding="utf-8")
