"""The CPU time of a process until the first step of its training, beside that of ``import torch`` alone.

    python benchmarks/start_up.py [--rounds 5] [--write]

The processes take turns. What is measured is what the operating system counts for a process, in user and in kernel
mode, on all of its threads, when the first step of the training has been taken; the rehearsal, which takes steps of its
own before, is included, and left out in the last row.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from in_turn import run

PIPELINE = Path(__file__).parents[1] / "pipelines" / "slot_filling.toml"
FIRST_STEP = """
import os, sys
from dlpipe.__main__ import main
from dlpipe.training.loop import Loop

def until_the_first_step(steps):
    for metrics in steps:
        times = os.times()
        print(times.user + times.system, flush=True)
        os._exit(0)

def begin(loop):
    loop.watch_steps(until_the_first_step)
    return run(loop)

run, Loop.run = Loop.run, begin
main()
"""
RUN = ["-c", FIRST_STEP, "run", str(PIPELINE), "--quiet"]
PROCESSES = {
    "`import torch`": ["-c", "import os, torch; times = os.times(); print(times.user + times.system)"],
    "`dlpipe run slot_filling.toml`": RUN,
    "`dlpipe run slot_filling.toml --no-rehearsal`": [*RUN, "--no-rehearsal"],
}


def measure(rounds: int) -> str:
    """Return the table."""
    seconds: dict[str, list[float]] = {name: [] for name in PROCESSES}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, arguments in PROCESSES.items():
                answer = subprocess.run(
                    [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=True
                )
                seconds[name].append(float(answer.stdout.split()[-1]))
    lines = ["| | CPU seconds, median | all |", "|---|---|---|"]
    for name, each in seconds.items():
        lines.append(f"| {name} | {statistics.median(each):.2f} | {', '.join(f'{one:.2f}' for one in each)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(__doc__, measure, rounds=5)
