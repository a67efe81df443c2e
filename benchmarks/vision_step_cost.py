"""The cost of a training step on images in dlpipe, compared with a hand-written PyTorch loop.

    python benchmarks/vision_step_cost.py [--rounds 30] [--write]

Both loops train ``core.mlp`` (784-500-500-500-10, batch 100) and ``vision.cnn`` (its default, and the network
of ``cnn_cifar10.toml``, batch 128) with fused Adam (``fused = true`` in a pipeline file) on the same 60,000 random
images, kept in memory as bytes and converted to float batch by batch, on one thread; see `in_turn` for how they are
measured. The convolutional networks are trained in float32 and in bfloat16; the hand-written loop uses
``channels_last`` for weights and images and sets gradients to None by hand. "float32, not channels_last" is the
hand-written loop without it, and shows the gain of the two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from in_turn import RAW, RAW_AGAIN, Steps, Times, compare, in_loop, own_order, rows, run
from torch import Tensor
from torch.nn import functional as F

from dlpipe.compute import Compute
from dlpipe.models.mlp import MLP
from dlpipe.training.supervised import Supervised
from dlpipe_vision.cnn import CNN
from dlpipe_vision.image_sets import ImageSet, ImageSplits
from dlpipe_vision.labeled_images import LabeledImages
from dlpipe_vision.layer_tables import Layer

SEED = 1
EXAMPLES, CLASSES = 60_000, 10
GREY, COLOR = (1, 28, 28), (3, 32, 32)
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


def raw(data: Images, case: Case, precision: torch.dtype, memory: torch.memory_format) -> Steps:
    """Return a function that takes steps in a hand-written loop, on the layers only."""
    images, targets = data
    torch.manual_seed(SEED)
    model = case.make().layers.to(memory_format=memory)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, fused=True)
    generator = own_order()

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for chosen in torch.randperm(EXAMPLES, generator=generator).split(case.batch_size):
                yield images.index_select(0, chosen).float().div_(255), targets.index_select(0, chosen)

    endless = batches()

    def steps(count: int) -> None:
        for _ in range(count):
            batch, targets_of_batch = next(endless)
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                loss = F.cross_entropy(model(batch.contiguous(memory_format=memory)), targets_of_batch)
            for parameter in parameters:
                parameter.grad = None
            loss.backward()
            optimizer.step()

    return steps


def ours(data: Images, case: Case, folder: Path) -> Steps:
    """Return a function that takes steps in dlpipe's loop, including logging to metrics.jsonl."""
    torch.manual_seed(SEED)
    labels = [str(number) for number in range(CLASSES)]
    trainer = Supervised(
        case.make(),
        LabeledImages(lambda: ImageSplits(labels, {"train": ImageSet(*data)}), normalize="unit"),
        Compute(torch.device("cpu"), case.precision),
        SEED,
        batch_size=case.batch_size,
        optimizer={"use": "adam", "fused": True},
    )
    return in_loop(trainer, folder)


def compare_case(case: Case, rounds: int) -> Times:
    """Time the loops of a case in turn."""
    data = random_images(case.shape)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        loops = {
            RAW: raw(data, case, case.precision, case.memory),
            "dlpipe": ours(data, case, Path(folder)),
            RAW_AGAIN: raw(data, case, case.precision, case.memory),
        }
        if case.memory != torch.contiguous_format:
            loops["hand-written, float32, not channels_last"] = raw(data, case, torch.float32, torch.contiguous_format)
        return compare(case.name, loops, case.block, rounds)


def cases() -> Iterator[Case]:
    """Yield the networks that are timed."""
    yield Case(
        "`core.mlp`, 784-500-500-500-10, batch 100",
        partial(MLP, image_shape=GREY, num_classes=CLASSES, hidden=[500] * 3),
        GREY,
        100,
        30,
    )
    for name, net, block in (
        ("its default on 1×28×28", partial(CNN, GREY, CLASSES), 4),
        ("as in `cnn_cifar10.toml`, on 3×32×32", partial(CNN, COLOR, CLASSES, layers=VGG_LIKE), 4),
    ):
        shape = net.args[0]
        for precision in (torch.float32, torch.bfloat16):
            title = f"`vision.cnn`, {name}, batch 128, {str(precision).removeprefix('torch.')}"
            yield Case(title, net, shape, 128, block, precision, torch.channels_last)


def measure(rounds: int) -> str:
    """Return the table."""
    return rows({case.name: compare_case(case, rounds) for case in cases()})


if __name__ == "__main__":
    run(__doc__, measure, 30)
