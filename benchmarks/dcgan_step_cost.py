"""What a step of a DCGAN costs in dlpipe beside the same step in a hand-written PyTorch loop.

    python benchmarks/dcgan_step_cost.py [--rounds 15]

Both loops train ``generative.dcgan`` (28×28 pixels, 32 channels, kernels of 4) with two Adams, batch 64, on the same
20,000 random images, resident as bytes and made floats batch by batch, one thread, block by block in turn, so that a
machine whose speed drifts slows both. Printed is CPU time per step: the median over blocks, and the ratio of the
medians to that of both raw loops together. ``raw`` stands twice: how far the two are apart is the noise.
The hand-written loop does what is known to save time: things are drawn once per step, and the discriminator takes no
gradients of its own weights while the generator learns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
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
from dlpipe.watchers import Watchers
from dlpipe_generative.dcgan import DCGAN
from dlpipe_generative.gan_trainer import GANTrainer

SEED, EXAMPLES, SHAPE, BATCH_SIZE, LATENT = 1, 20_000, (1, 28, 28), 64, 64
ADAM = {"lr": 2e-4, "betas": (0.5, 0.999)}


def make() -> DCGAN:
    torch.manual_seed(SEED)
    return DCGAN(SHAPE, (-1.0, 1.0), latent_dim=LATENT, channels=32, kernel=4)


def symmetric(images: Tensor) -> Tensor:
    return images.float().mul_(2 / 255).sub_(1)


class RandomImages:
    """Data of random images."""

    splits = ("train",)
    facts: Mapping[str, Any] = {}

    def __init__(self, images: Tensor) -> None:
        self._images = images

    def split(self, name: str) -> Columns:
        return Columns(
            {"images": self._images}, prepare=lambda batch, _, __: batch | {"images": symmetric(batch["images"])}
        )


class NoCheckpoints(Checkpoints):
    """Measures the steps alone; what a checkpoint costs is another question."""

    def save(self, *arguments: Any, **options: Any) -> Path:
        return self.folder


def raw(images: Tensor) -> Callable[[int], None]:
    """Return a function that takes steps in a loop as one writes it by hand."""
    model = make()
    generator, discriminator = model.generator, model.discriminator
    for_generator = torch.optim.Adam(generator.parameters(), **ADAM)
    for_discriminator = torch.optim.Adam(discriminator.parameters(), **ADAM)
    order = torch.Generator().manual_seed(SEED)

    def batches() -> Iterator[Tensor]:
        while True:
            for rows in torch.randperm(EXAMPLES, generator=order).split(BATCH_SIZE):
                yield symmetric(images.index_select(0, rows))

    endless = batches()
    losses: list[Tensor] = []

    def steps(count: int) -> None:
        for _ in range(count):
            real = next(endless)
            fake = generator(torch.randn(len(real), LATENT))
            for_discriminator.zero_grad(set_to_none=True)
            loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()
            loss.backward()
            for_discriminator.step()
            for_generator.zero_grad(set_to_none=True)
            discriminator.requires_grad_(False)
            lost = F.softplus(-discriminator(fake)).mean()
            lost.backward()
            discriminator.requires_grad_(True)
            for_generator.step()
            losses.append(loss.detach() + lost.detach())
        float(torch.stack(losses).mean())
        losses.clear()

    return steps


def ours(images: Tensor, folder: Path) -> Callable[[int], None]:
    """Return a function that takes steps in dlpipe's loop, log points and metrics.jsonl included."""
    adam = {"use": "adam", **ADAM}
    trainer = GANTrainer(
        make(),
        RandomImages(images),  # type: ignore[arg-type]
        Compute(torch.device("cpu")),
        SEED,
        batch_size=BATCH_SIZE,
        generator_optimizer=adam,
        discriminator_optimizer=adam,
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
            diagnose=lambda step: "",
            samples=folder / "samples",
        )
        loop.state = Progressed(step=done)
        loop.run()
        done += count

    return steps


def compare(block: int, rounds: int) -> None:
    images = torch.randint(256, (EXAMPLES, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(SEED))
    with tempfile.TemporaryDirectory() as folder:
        loops = {"raw": raw(images), "dlpipe": ours(images, Path(folder)), "raw again": raw(images)}
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
    print(f"generative.dcgan, 28×28, 32 channels, batch {BATCH_SIZE}: {rounds} blocks of {block} steps")
    for key, values in times.items():
        median = statistics.median(values)
        print(f"  {key:<10} {median * 1e3:8.2f} ms/step  ratio {median / base:.3f}  {(median - base) * 1e6:+7.1f} us")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    torch.set_num_threads(1)
    compare(10, parser.parse_args().rounds)
