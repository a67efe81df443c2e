"""What a step on images costs in dlpipe beside the same step in a hand-written PyTorch loop.

    python benchmarks/vision_step_cost.py [--rounds 15]

Both loops train ``vision.mlp`` (784-500-500-500-10, batch 100) and ``vision.cnn`` (its default, and the net
of ``cnn_cifar10.toml``, batch 128) with Adam on the same 60,000 random images, resident as bytes and made
floats batch by batch, one thread, block by block in turn, so that a machine whose speed drifts slows both.
The nets of convolutions are trained in float32 and in bfloat16, by hand with weights and images in
``channels_last``; ``plain`` is the hand-written loop in float32 without: what the machine gains by the two.
Printed is CPU time per step: the median over blocks, and the ratio of the medians to that of both raw
loops together. ``raw`` stands twice: how far the two are apart is the noise.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from dlpipe.checkpoint import Checkpoints
from dlpipe.compute import Compute
from dlpipe.hooks import RunView
from dlpipe.loop import Loop, Progressed
from dlpipe.options import LoopOptions
from dlpipe.progress import Progress
from dlpipe.runs import MetricsLog
from dlpipe.signals import StopSignals
from dlpipe.supervised import Supervised
from dlpipe.watchers import Watchers
from dlpipe_vision.cnn import CNN, Layer
from dlpipe_vision.labelled_images import ImageSet, LabelledImages, Reading
from dlpipe_vision.mlp import MLP

SEED = 1
EXAMPLES, CLASSES = 60_000, 10
GREY, COLOUR = (1, 28, 28), (3, 32, 32)
VGG_LIKE: list[Layer] = [
    {"conv": 32, "norm": True},
    {"pool": 2},
    {"conv": 64, "norm": True},
    {"pool": 2},
    {"conv": 128, "norm": True},
    {"pool": 2},
    {"dropout": 0.1},
    {"dense": 128, "norm": True},
]
Images = tuple[Tensor, Tensor]
Steps = Callable[[int], None]


@dataclass(frozen=True)
class Case:
    """A net, what it learns from and how its numbers are kept; `block` steps are timed together."""

    name: str
    make: Callable[[], MLP | CNN]
    shape: tuple[int, int, int]
    batch_size: int
    block: int
    precision: torch.dtype = torch.float32
    memory: torch.memory_format = torch.contiguous_format


def random_images(shape: tuple[int, int, int]) -> Images:
    """Return random images (N, C, H, W) of random classes (N,)."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(256, (EXAMPLES, *shape), dtype=torch.uint8, generator=generator)
    return images, torch.randint(CLASSES, (EXAMPLES,), generator=generator)


class NoCheckpoints(Checkpoints):
    """Measures the steps alone; what a checkpoint costs is another question."""

    def save(self, *arguments: Any, **options: Any) -> Path:
        return self.folder


def raw(data: Images, case: Case, precision: torch.dtype, memory: torch.memory_format) -> Steps:
    """Return a function that takes steps in a loop as one writes it by hand, on the layers alone."""
    images, targets = data
    torch.manual_seed(SEED)
    model = case.make().layers.to(memory_format=memory)
    optimizer = torch.optim.Adam(model.parameters())
    generator = torch.Generator().manual_seed(SEED)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for rows in torch.randperm(EXAMPLES, generator=generator).split(case.batch_size):
                yield images.index_select(0, rows).float().div_(255), targets.index_select(0, rows)

    endless = batches()

    def steps(count: int) -> None:
        for _ in range(count):
            batch, wanted = next(endless)
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                loss = F.cross_entropy(model(batch.contiguous(memory_format=memory)), wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return steps


def ours(data: Images, case: Case, folder: Path) -> Steps:
    """Return a function that takes steps in dlpipe's loop, log points and metrics.jsonl included."""
    torch.manual_seed(SEED)
    labels = [str(number) for number in range(CLASSES)]
    trainer = Supervised(
        case.make(),
        LabelledImages(lambda: Reading(labels, {"train": ImageSet(*data)}), normalize="unit"),
        Compute(torch.device("cpu"), case.precision),
        SEED,
        batch_size=case.batch_size,
        optimizer={"use": "adam"},
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


def compare(case: Case, rounds: int) -> None:
    """Time the loops of a case in turn and print what a step of each costs."""
    data = random_images(case.shape)
    with tempfile.TemporaryDirectory() as folder:
        loops = {
            "raw": raw(data, case, case.precision, case.memory),
            "dlpipe": ours(data, case, Path(folder)),
            "raw again": raw(data, case, case.precision, case.memory),
        }
        if case.memory != torch.contiguous_format:
            loops["plain"] = raw(data, case, torch.float32, torch.contiguous_format)
        times: dict[str, list[float]] = {key: [] for key in loops}
        for steps in loops.values():
            steps(case.block)  # warm up
        for turn in range(rounds):
            order = list(loops) if turn % 2 else list(reversed(loops))
            for key in order:
                started = time.process_time()
                loops[key](case.block)
                times[key].append((time.process_time() - started) / case.block)
    base = statistics.median(times["raw"] + times["raw again"])
    print(f"{case.name}, batch {case.batch_size}: {rounds} blocks of {case.block} steps")
    for key, values in times.items():
        median = statistics.median(values)
        print(f"  {key:<10} {median * 1e6:8.1f} us/step  ratio {median / base:.3f}  {(median - base) * 1e6:+7.1f} us")


def cases() -> Iterator[Case]:
    """Give the nets that are timed."""
    yield Case("vision.mlp, 3 x 500", lambda: MLP(GREY, CLASSES, hidden=(500, 500, 500)), GREY, 100, 200)
    for name, net, block in (
        ("default", partial(CNN, GREY, CLASSES), 20),
        ("cnn_cifar10.toml", partial(CNN, COLOUR, CLASSES, layers=VGG_LIKE), 20),
    ):
        shape = net.args[0]
        for precision in (torch.float32, torch.bfloat16):
            title = f"vision.cnn, {name}, {str(precision).removeprefix('torch.')}"
            yield Case(title, net, shape, 128, block, precision, torch.channels_last)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for case in cases():
        compare(case, rounds)
