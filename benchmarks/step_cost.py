"""What a step costs in dlpipe beside the same step in a hand-written PyTorch loop.

    python benchmarks/step_cost.py [--rounds 15]

Both loops train the same nets on the same resident tensors, one thread, block by block in turn, so
that a machine whose speed drifts slows both. Printed is CPU time per step: the median over blocks,
and the ratio of the medians to that of both raw loops together. ``raw`` stands twice: how far the two
are apart is the noise.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.checkpoint import Checkpoints
from dlpipe.columns import Columns
from dlpipe.compute import Compute
from dlpipe.hooks import RunView
from dlpipe.loop import Loop, Progressed
from dlpipe.options import LoopOptions
from dlpipe.progress import Progress
from dlpipe.runs import MetricsLog
from dlpipe.signals import StopSignals
from dlpipe.supervised import Supervised
from dlpipe.watchers import Watchers

SEED = 1


class Vectors:
    """Random vectors with random targets: classes, or numbers for a regression."""

    splits = ("train",)
    facts: Mapping[str, Any] = {}

    def __init__(self, examples: int, inputs: int, classes: int | None) -> None:
        generator = torch.Generator().manual_seed(SEED)
        self.vectors = torch.randn(examples, inputs, generator=generator)
        if classes:
            self.targets = torch.randint(classes, (examples,), generator=generator)
        else:
            self.targets = torch.randn(examples, 1, generator=generator)

    def split(self, name: str) -> Columns:
        return Columns({"vectors": self.vectors, "targets": self.targets})


class Net(nn.Module):
    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, vectors: Tensor) -> Tensor:
        return self.layers(vectors)


class NoCheckpoints(Checkpoints):
    """Measures the steps alone; what a checkpoint costs is another question."""

    def save(self, *arguments: Any, **options: Any) -> Path:
        return self.folder


def raw(data: Vectors, sizes: tuple[int, ...], batch_size: int, classes: int | None) -> Callable[[int], None]:
    """Return a function that takes steps in a loop as one writes it by hand."""
    torch.manual_seed(SEED)
    model = Net(sizes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(SEED)
    loss_of = F.cross_entropy if classes else F.mse_loss

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for rows in torch.randperm(len(data.vectors), generator=generator).split(batch_size):
                yield data.vectors.index_select(0, rows), data.targets.index_select(0, rows)

    endless = batches()

    def steps(count: int) -> None:
        for _ in range(count):
            vectors, targets = next(endless)
            loss = loss_of(model(vectors), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return steps


def ours(
    data: Vectors, sizes: tuple[int, ...], batch_size: int, classes: int | None, folder: Path
) -> Callable[[int], None]:
    """Return a function that takes steps in dlpipe's loop, log points and metrics.jsonl included."""
    torch.manual_seed(SEED)
    trainer = Supervised(
        Net(sizes),
        data,  # type: ignore[arg-type]
        Compute(torch.device("cpu")),
        SEED,
        batch_size=batch_size,
        optimizer={"use": "sgd", "lr": 0.1},
        loss="cross_entropy" if classes else "mse",
    )
    done = 0
    view = RunView("benchmark", folder, SEED, 0, lambda reason: None)

    def steps(count: int) -> None:
        nonlocal done
        loop = Loop(
            trainer,
            LoopOptions(steps=done + count),
            evaluators={},
            dev=None,
            checkpoints=NoCheckpoints(folder),
            log=MetricsLog(folder / "metrics.jsonl"),
            watchers=Watchers({}, view, print),
            progress=Progress(folder / "log.txt", Console(quiet=True)),
            signals=StopSignals(),
            samples=folder / "samples",
            diagnose=lambda step: "",
        )
        loop.state = Progressed(step=done)
        loop.run()
        done += count

    return steps


def compare(name: str, sizes: tuple[int, ...], batch_size: int, examples: int, block: int, rounds: int) -> None:
    classes = sizes[-1] if sizes[-1] > 1 else None
    data = Vectors(examples, sizes[0], classes)
    with tempfile.TemporaryDirectory() as folder:
        loops = {
            "raw": raw(data, sizes, batch_size, classes),
            "dlpipe": ours(data, sizes, batch_size, classes, Path(folder)),
            "raw again": raw(data, sizes, batch_size, classes),
        }
        times: dict[str, list[float]] = {key: [] for key in loops}
        for steps in loops.values():
            steps(block)  # warm up
        for turn in range(rounds):
            order = list(loops) if turn % 2 else list(reversed(loops))
            for key in order:
                started = time.process_time()
                loops[key](block)
                times[key].append((time.process_time() - started) / block)
    base = statistics.median(times["raw"] + times["raw again"])
    print(f"{name}: {rounds} blocks of {block} steps")
    for key, values in times.items():
        median = statistics.median(values)
        print(f"  {key:<10} {median * 1e6:8.1f} us/step  ratio {median / base:.3f}  {(median - base) * 1e6:+7.1f} us")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    compare("784-500-500-10, batch 100", (784, 500, 500, 10), 100, 60_000, 600, rounds)
    compare("Linear 8 to 1, batch 8", (8, 1), 8, 8_000, 1000, rounds)
