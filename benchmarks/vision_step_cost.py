"""The cost of a training step on images in dlpipe, compared with a hand-written PyTorch loop.

    python benchmarks/vision_step_cost.py [--rounds 15]

Both loops train ``core.mlp`` (784-500-500-500-10, batch 100) and ``vision.cnn`` (its default, and the network
of ``cnn_cifar10.toml``, batch 128) with Adam on the same 60,000 random images, kept in memory as bytes and
converted to float batch by batch. They use one thread and alternate block by block, so that drifts in the
speed of the machine affect both. The convolutional networks are trained in float32 and in bfloat16; the
hand-written loop uses ``channels_last`` for weights and images. ``plain`` is the hand-written loop in float32
without it, and shows the gain of the two. The output is the CPU time per step: the median over blocks, and the
ratio of the medians to that of both raw loops together. ``raw`` is listed twice: the difference is the noise.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from in_turn import Steps, compare, in_loop
from torch import Tensor
from torch.nn import functional as F

from dlpipe.compute import Compute
from dlpipe.models.mlp import MLP
from dlpipe.training.supervised import Supervised
from dlpipe_vision.cnn import CNN
from dlpipe_vision.labelled_images import ImageSet, ImageSplits, LabelledImages
from dlpipe_vision.layer_tables import Layer

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


@dataclass(frozen=True)
class Case:
    """A network, its data and its precision; `block` steps are timed together."""

    name: str
    make: Callable[[], MLP | CNN]
    shape: tuple[int, int, int]
    batch_size: int
    block: int
    precision: torch.dtype = torch.float32
    memory: torch.memory_format = torch.contiguous_format


def random_images(shape: tuple[int, int, int]) -> Images:
    """Return random images (N, C, H, W) and random classes (N,)."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(256, (EXAMPLES, *shape), dtype=torch.uint8, generator=generator)
    return images, torch.randint(CLASSES, (EXAMPLES,), generator=generator)


def save(self, *arguments: Any, **options: Any) -> Path:
    return self.folder


def raw(data: Images, case: Case, precision: torch.dtype, memory: torch.memory_format) -> Steps:
    """Return a function that takes steps in a hand-written loop, on the layers only."""
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
            batch, targets_of_batch = next(endless)
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                loss = F.cross_entropy(model(batch.contiguous(memory_format=memory)), targets_of_batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return steps


def ours(data: Images, case: Case, folder: Path) -> Steps:
    """Return a function that takes steps in dlpipe's loop, including logging to metrics.jsonl."""
    torch.manual_seed(SEED)
    labels = [str(number) for number in range(CLASSES)]
    trainer = Supervised(
        case.make(),
        LabelledImages(lambda: ImageSplits(labels, {"train": ImageSet(*data)}), normalize="unit"),
        Compute(torch.device("cpu"), case.precision),
        SEED,
        batch_size=case.batch_size,
        optimizer={"use": "adam"},
    )
    return in_loop(trainer, folder)


def compare_case(case: Case, rounds: int) -> None:
    """Time the loops of a case alternately and print the cost of a step of each."""
    data = random_images(case.shape)
    with tempfile.TemporaryDirectory() as folder:
        loops = {
            "raw": raw(data, case, case.precision, case.memory),
            "dlpipe": ours(data, case, Path(folder)),
            "raw again": raw(data, case, case.precision, case.memory),
        }
        if case.memory != torch.contiguous_format:
            loops["plain"] = raw(data, case, torch.float32, torch.contiguous_format)
        compare(f"{case.name}, batch {case.batch_size}", loops, case.block, rounds)


def cases() -> Iterator[Case]:
    """Yield the networks that are timed."""
    yield Case(
        "core.mlp, 3 x 500", partial(MLP, image_shape=GREY, num_classes=CLASSES, hidden=[500] * 3), GREY, 100, 200
    )
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
        compare_case(case, rounds)
