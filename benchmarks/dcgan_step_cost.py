"""CPU time per step of a DCGAN in dlpipe, compared with the same step in a hand-written PyTorch loop.

    python benchmarks/dcgan_step_cost.py [--rounds 15]

Both loops train ``generative.dcgan`` (28×28 pixels, 32 channels, 4×4 kernels) with two Adam optimizers and batches of
64 on the same 20,000 random images, which are held in memory as bytes and converted to floats batch by batch, on one
thread. Blocks of both loops alternate, so that a drift in the machine's speed affects both. The output is CPU time per
step: the median over blocks, and its ratio to the median of both raw loops together. ``raw`` runs twice; the difference
between the two is the noise.
The hand-written loop saves time where it can: it generates samples once per step, and computes no gradients of the
discriminator's weights while it updates the generator.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from in_turn import Steps, compare, in_loop
from torch import Tensor
from torch.nn import functional as F

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
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


def raw(images: Tensor) -> Steps:
    """Return a function that runs steps of a hand-written loop."""
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
            generator_loss = F.softplus(-discriminator(fake)).mean()
            generator_loss.backward()
            discriminator.requires_grad_(True)
            for_generator.step()
            losses.append(loss.detach() + generator_loss.detach())
        float(torch.stack(losses).mean())
        losses.clear()

    return steps


def ours(images: Tensor, folder: Path) -> Steps:
    """Return a function that runs steps of dlpipe's loop, including logging and metrics.jsonl."""
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
    return in_loop(trainer, folder)


def compare_loops(block: int, rounds: int) -> None:
    images = torch.randint(256, (EXAMPLES, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(SEED))
    with tempfile.TemporaryDirectory() as folder:
        loops = {"raw": raw(images), "dlpipe": ours(images, Path(folder)), "raw again": raw(images)}
        compare(f"generative.dcgan, 28×28, 32 channels, batch {BATCH_SIZE}", loops, block, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    torch.set_num_threads(1)
    compare_loops(10, parser.parse_args().rounds)
