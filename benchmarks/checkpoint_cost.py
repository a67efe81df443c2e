"""Compare the cost of saving a checkpoint with plain ``torch.save`` of the same content.

    python benchmarks/checkpoint_cost.py [--rounds 7] [--write]

There are two cases: 100 million parameters; and the state of an agent, a replay buffer of one gigabyte in blocks
of 32 MB, two of which change between checkpoints. A checkpoint is hashed, flushed to disk and renamed.
``torch.save`` overwrites the old file, so a kill in the middle leaves a broken one. The methods take turns; the
output is the wall time of each, and the median.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from in_turn import run
from torch import nn

from dlpipe.runs.checkpoint import Checkpoints, StateBlock


def plain(path: Path, content: object) -> None:
    torch.save(content, path)


def flushed_and_renamed(path: Path, content: object) -> None:
    temporary = path.with_name("temporary.pt")
    torch.save(content, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def compare(title: str, rounds: int, ways: Mapping[str, Callable[[int], object]]) -> str:
    """Run the methods in turn, after one warm-up round, and return a table; the first one is the baseline."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, save in ways.items():
            started = time.perf_counter()
            save(turn)
            if turn:
                times[name].append(time.perf_counter() - started)
    base = statistics.median(next(iter(times.values())))
    lines = [f"| {title} | median | all | ratio |", "|---|---|---|---|"]
    for name, seconds in times.items():
        median, every = statistics.median(seconds), ", ".join(f"{each:.2f}" for each in seconds)
        lines.append(f"| {name} | {median:.2f} s | {every} | {median / base:.2f} |")
    return "\n".join(lines) + "\n"


def measure(rounds: int) -> str:
    """Return the tables."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder)
        model = nn.Sequential(*[nn.Linear(5000, 5000) for _ in range(4)])
        checkpoints = Checkpoints(path / "weights", keep=1)
        weights = compare(
            f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters",
            rounds,
            {
                "torch.save": lambda turn: plain(path / "plain.pt", model.state_dict()),
                "torch.save, flushed and renamed": lambda turn: flushed_and_renamed(
                    path / "plain.pt", model.state_dict()
                ),
                "dlpipe": lambda turn: checkpoints.save(turn, model, {}, best=True),
            },
        )
        parts = torch.randint(256, (32, 32_000_000), dtype=torch.uint8)
        versions = [0] * len(parts)
        agents = Checkpoints(path / "agent", keep=1)

        def save_blocks(turn: int) -> None:
            for newest in (2 * turn, 2 * turn + 1):
                versions[newest % len(parts)] += 1
            blocks = {
                f"replay-{number}": StateBlock(version, {"frames": part})
                for number, (version, part) in enumerate(zip(versions, parts, strict=True))
            }
            agents.save(turn, nn.Linear(5, 3), {}, best=True, blocks=blocks)

        replay = compare(
            f"a replay of {parts.nbytes / 1e9:.1f} GB",
            rounds,
            {
                "torch.save": lambda turn: plain(path / "plain.pt", parts),
                "dlpipe, in blocks": save_blocks,
            },
        )
        return f"{weights}\n{replay}"


if __name__ == "__main__":
    run(__doc__, measure, 7, threads=None)
