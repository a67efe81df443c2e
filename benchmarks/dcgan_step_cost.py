"""CPU time per step of a DCGAN in dlpipe, compared with the same step in a hand-written PyTorch loop.

    python benchmarks/dcgan_step_cost.py [--rounds 40] [--write]

Both loops train ``generative.dcgan`` (28×28 pixels, 32 channels, 4×4 kernels) with two Adam optimizers and batches of
64 on the same 20,000 random images, which are held in memory as bytes and converted to floats batch by batch, on one
thread; see `in_turn` for how they are measured. Both use fused Adam (``fused = true`` in a pipeline file).
The hand-written loop saves time where it can: it generates samples once per step, sets gradients to None by hand, and
computes no gradients of the discriminator's weights while it updates the generator. It reads its losses once per block;
the metrics of dlpipe are two losses and two mean probabilities per step.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from in_turn import RAW, RAW_AGAIN, Steps, compare, in_loop, own_order, rows, run
from torch import Tensor
from torch.nn import functional as F

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe_generative.dcgan import DCGAN
from dlpipe_generative.gan_trainer import GANTrainer

SEED, EXAMPLES, SHAPE, BATCH_SIZE, LATENT = 1, 20_000, (1, 28, 28), 64, 64
ADAM = {"lr": 2e-4, "betas": (0.5, 0.999), "fused": True}


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
    drawing, judging = list(generator.parameters()), list(discriminator.parameters())
    for_generator, for_discriminator = torch.optim.Adam(drawing, **ADAM), torch.optim.Adam(judging, **ADAM)
    order = own_order()

    def batches() -> Iterator[Tensor]:
        while True:
            for chosen in torch.randperm(EXAMPLES, generator=order).split(BATCH_SIZE):
                yield symmetric(images.index_select(0, chosen))

    endless = batches()
    losses: list[Tensor] = []

    def steps(count: int) -> None:
        for _ in range(count):
            real = next(endless)
            fake = generator(torch.randn(len(real), LATENT))
            for weight in judging:
                weight.grad = None
            loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()
            loss.backward()
            for_discriminator.step()
            for weight in drawing:
                weight.grad = None
            for weight in judging:
                weight.requires_grad_(False)
            generator_loss = F.softplus(-discriminator(fake)).mean()
            generator_loss.backward()
            for weight in judging:
                weight.requires_grad_(True)
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


def measure(rounds: int) -> str:
    """Return the table."""
    images = torch.randint(256, (EXAMPLES, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(SEED))
    title = f"`generative.dcgan`, 28×28, 32 channels, batch {BATCH_SIZE}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        loops = {RAW: raw(images), "dlpipe": ours(images, Path(folder)), RAW_AGAIN: raw(images)}
        return rows({title: compare(title, loops, 5, rounds)})


if __name__ == "__main__":
    run(__doc__, measure, 40)
