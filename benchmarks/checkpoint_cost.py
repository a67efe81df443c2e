"""What saving a checkpoint of 100 million parameters costs beside plain ``torch.save`` of the same.

    python benchmarks/checkpoint_cost.py [--rounds 7]

A checkpoint is hashed, flushed to the disk and renamed; ``torch.save`` writes over the old file, which
a kill in the middle leaves broken. Both in turn; printed are medians of wall seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from dlpipe.checkpoint import Checkpoints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    model = nn.Sequential(*[nn.Linear(5000, 5000) for _ in range(4)])
    times: dict[str, list[float]] = {"torch.save": [], "torch.save, flushed and renamed": [], "dlpipe": []}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        checkpoints = Checkpoints(Path(folder) / "checkpoints", keep=1)
        plain, temporary = Path(folder) / "plain.pt", Path(folder) / "temporary.pt"

        def save_plain() -> None:
            torch.save(model.state_dict(), plain)

        def save_whole() -> None:
            torch.save(model.state_dict(), temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(plain)

        for turn in range(rounds + 1):
            ways = (save_plain, save_whole, lambda step=turn: checkpoints.save(step, model, {}, best=True))
            for seconds, save in zip(times.values(), ways, strict=True):
                started = time.perf_counter()
                save()
                if turn:  # the first one warms up
                    seconds.append(time.perf_counter() - started)
    base = statistics.median(times["torch.save"])
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters, {rounds} rounds")
    for name, seconds in times.items():
        print(f"  {name:<33} {statistics.median(seconds):6.2f} s  ratio {statistics.median(seconds) / base:.2f}")


if __name__ == "__main__":
    main()
