"""What the benchmarks of steps share: a trainer in dlpipe's loop, and loops that are timed in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from dlpipe.config.settings import LoopOptions
from dlpipe.protocols import Trainer
from dlpipe.registry.hooks import RunView
from dlpipe.runs.checkpoint import Checkpoints
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.runs.signals import StopSignals
from dlpipe.training.callbacks import Callbacks
from dlpipe.training.loop import Loop
from dlpipe.training.loop_state import LoopState
from dlpipe.training.progress import Progress

#: Takes so many steps.
Steps = Callable[[int], None]


class NoCheckpoints(Checkpoints):
    """Measures the steps alone; checkpoints are measured by checkpoint_cost.py."""

    def save(self, *arguments: Any, **options: Any) -> Path:
        return self.folder


def in_loop(trainer: Trainer, folder: Path, **options: Any) -> Steps:
    """Return a function that takes steps in dlpipe's loop, log points and metrics.jsonl included."""
    done = 0
    view = RunView("benchmark", folder, 0, 0, lambda reason: None)

    def steps(count: int) -> None:
        nonlocal done
        loop = Loop(
            trainer,
            LoopOptions(steps=done + count, **options),
            evaluators={},
            dev=None,
            checkpoints=NoCheckpoints(folder),
            log=MetricsLog(folder / "metrics.jsonl"),
            callbacks=Callbacks({}, view, print),
            progress=Progress(folder / "log.txt", Console(quiet=True)),
            signals=StopSignals(),
            samples=folder / "samples",
            find_nan=lambda step: "",
        )
        loop.state = LoopState(step=done)
        loop.run()
        done += count

    return steps


def compare(title: str, loops: Mapping[str, Steps], block: int, rounds: int) -> None:
    """Take blocks of steps in turn, and print medians of CPU time per step; the base is "raw" and "raw again"."""
    report(title, take_turns(loops, block, rounds), block)


def take_turns(loops: Mapping[str, Steps], block: int, rounds: int) -> dict[str, list[float]]:
    """Take blocks of steps in turn, and return the CPU time of a step in each block."""
    times: dict[str, list[float]] = {name: [] for name in loops}
    for steps in loops.values():
        steps(block)  # warm up
    for turn in range(rounds):
        for name in list(loops) if turn % 2 else reversed(loops):
            started = time.process_time()
            loops[name](block)
            times[name].append((time.process_time() - started) / block)
    return times


def report(title: str, times: Mapping[str, list[float]], block: int) -> None:
    """Print the medians, and their ratios to that of "raw" and "raw again" together."""
    base = statistics.median(times["raw"] + times["raw again"])
    print(f"{title}: {len(times['raw'])} blocks of {block} steps")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"  {name:<10} {median * 1e6:10.1f} us/step  ratio {median / base:.3f}  {(median - base) * 1e6:+9.1f} us")
