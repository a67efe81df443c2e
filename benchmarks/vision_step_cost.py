"""What a step on images costs in dlpipe beside the same step in a hand-written PyTorch loop.

    python benchmarks/vision_step_cost.py [--rounds 15]

Both loops train ``vision.mlp`` (784-500-500-500-10, batch 100) and ``vision.cnn`` (its default, batch
128) with Adam on the same 60,000 random images of MNIST's size, resident as bytes and made floats
batch by batch, one thread, block by block in turn, so that a machine whose speed drifts slows both.
Printed is CPU time per step: the median over blocks, and the ratio of the medians to that of both raw
loops together. ``raw`` stands twice: how far the two are apart is the noise.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
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
from dlpipe_vision.cnn import CNN
from dlpipe_vision.labelled_images import ImageSet, LabelledImages, Reading
from dlpipe_vision.mlp import MLP

SEED = 1
EXAMPLES, SHAPE, CLASSES = 60_000, (1, 28, 28), 10
Make = Callable[[], nn.Module]


def random_images() -> tuple[Tensor, Tensor]:
    """Return random images (N, C, H, W) of random classes (N,)."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(256, (EXAMPLES, *SHAPE), dtype=torch.uint8, generator=generator)
    return images, torch.randint(CLASSES, (EXAMPLES,), generator=generator)


class NoCheckpoints(Checkpoints):
    """Measures the steps alone; what a checkpoint costs is another question."""

    def save(self, *arguments: Any, **options: Any) -> Path:
        return self.folder


def raw(images: Tensor, targets: Tensor, make: Make, batch_size: int) -> Callable[[int], None]:
    """Return a function that takes steps in a loop as one writes it by hand."""
    torch.manual_seed(SEED)
    model = make()
    optimizer = torch.optim.Adam(model.parameters())
    generator = torch.Generator().manual_seed(SEED)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for rows in torch.randperm(EXAMPLES, generator=generator).split(batch_size):
                yield images.index_select(0, rows).float().div_(255), targets.index_select(0, rows)

    endless = batches()

    def steps(count: int) -> None:
        for _ in range(count):
            batch, wanted = next(endless)
            loss = F.cross_entropy(model(batch), wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return steps


def ours(images: Tensor, targets: Tensor, make: Make, batch_size: int, folder: Path) -> Callable[[int], None]:
    """Return a function that takes steps in dlpipe's loop, log points and metrics.jsonl included."""
    torch.manual_seed(SEED)
    labels = [str(number) for number in range(CLASSES)]
    data = LabelledImages(lambda: Reading(labels, {"train": ImageSet(images, targets)}), normalize="unit")
    trainer = Supervised(
        make(),
        data,
        Compute(torch.device("cpu")),
        SEED,
        batch_size=batch_size,
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


def compare(name: str, make: Make, batch_size: int, block: int, rounds: int) -> None:
    data = random_images()
    with tempfile.TemporaryDirectory() as folder:
        loops = {
            "raw": raw(*data, make, batch_size),
            "dlpipe": ours(*data, make, batch_size, Path(folder)),
            "raw again": raw(*data, make, batch_size),
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
    compare("vision.mlp, 3 x 500, batch 100", lambda: MLP(SHAPE, CLASSES, hidden=(500, 500, 500)), 100, 100, rounds)
    compare("vision.cnn, batch 128", lambda: CNN(SHAPE, CLASSES), 128, 3, rounds)
