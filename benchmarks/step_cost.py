"""Compare the cost of a step in dlpipe with the same step in a hand-written PyTorch loop.

    python benchmarks/step_cost.py [--rounds 60] [--write]

Both loops train the same networks on the same tensors in memory, with SGD and one thread; see `in_turn` for how they
are measured. The hand-written loop indexes the tensors once per batch, sets gradients to None by hand and reads no
loss. dlpipe's also logs, and appends to metrics.jsonl, every 50 steps. All loops are made five times, because the
location of their memory changes the time.

dlpipe's optimizers are torch's without what `torch.optim` does around each step for its profiler and its compiler
(`dlpipe.training.eager_optimizers`). The hand-written loop has torch's as they are, as hand-written loops do; a second
one has dlpipe's, and so shows what the rest of dlpipe costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from in_turn import RAW, RAW_AGAIN, RAW_LEAN, Steps, Times, in_loop, own_order, rows, run, show, take_turns_recreated
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.training import build_optimizer
from dlpipe.training.supervised import Supervised

SEED, LR = 1, 0.1
SGD = {"use": "sgd", "lr": LR}


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


def raw(
    data: Vectors,
    sizes: tuple[int, ...],
    batch_size: int,
    classes: int | None,
    optimizer_of: Callable[[list[nn.Parameter]], Optimizer] = lambda parameters: torch.optim.SGD(parameters, lr=LR),
) -> Steps:
    """Return a function that takes steps in a hand-written loop."""
    torch.manual_seed(SEED)
    model = Net(sizes)
    parameters = list(model.parameters())
    optimizer = optimizer_of(parameters)
    generator = own_order()
    loss_of = F.cross_entropy if classes else F.mse_loss

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for chosen in torch.randperm(len(data.vectors), generator=generator).split(batch_size):
                yield data.vectors.index_select(0, chosen), data.targets.index_select(0, chosen)

    endless = batches()

    def steps(count: int) -> None:
        for _ in range(count):
            vectors, targets = next(endless)
            loss = loss_of(model(vectors), targets)
            for parameter in parameters:
                parameter.grad = None
            loss.backward()
            optimizer.step()

    return steps


def ours(data: Vectors, sizes: tuple[int, ...], batch_size: int, classes: int | None, folder: Path) -> Steps:
    """Return a function that takes steps in dlpipe's loop, log points and metrics.jsonl included."""
    torch.manual_seed(SEED)
    trainer = Supervised(
        Net(sizes),
        data,  # type: ignore[arg-type]
        Compute(torch.device("cpu")),
        SEED,
        batch_size=batch_size,
        optimizer=SGD,
        loss="cross_entropy" if classes else "mse",
    )
    return in_loop(trainer, folder)


def compare_nets(name: str, sizes: tuple[int, ...], batch_size: int, examples: int, block: int, rounds: int) -> Times:
    """Time the loops on a network."""
    classes = sizes[-1] if sizes[-1] > 1 else None
    data = Vectors(examples, sizes[0], classes)

    def loops_in(folder: Path) -> dict[str, Steps]:
        return {
            RAW: raw(data, sizes, batch_size, classes),
            # Data of its own, which dlpipe moves into huge pages when its second epoch begins.
            "dlpipe": ours(Vectors(examples, sizes[0], classes), sizes, batch_size, classes, folder),
            RAW_LEAN: raw(data, sizes, batch_size, classes, lambda parameters: build_optimizer(parameters, SGD)),
            RAW_AGAIN: raw(data, sizes, batch_size, classes),
        }

    times = take_turns_recreated(loops_in, block, rounds)
    show(name, times, block)
    return times


def measure(rounds: int) -> str:
    """Return the table."""
    cases = [
        ("784-500-500-10, batch 100", (784, 500, 500, 10), 100, 60_000, 30),
        ("Linear 8 to 1, batch 8", (8, 1), 8, 8_000, 500),
    ]
    return rows({case[0]: compare_nets(*case, rounds) for case in cases})


if __name__ == "__main__":
    run(__doc__, measure, 60)
