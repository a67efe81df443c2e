"""How a discriminator and a generator stand to each other, and the collapse_threshold when one has won.

Axes: N things.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.evaluation import Examples
from dlpipe.fields import Fraction, Positive
from dlpipe.figures import BLUE, GREY, ORANGE, drawing
from dlpipe_generative.contracts import Adversaries, require
from dlpipe_generative.drawn import drawn_at_random
from dlpipe_generative.things import device_of, parts, things

WHO = "generative.gan_diagnostics"


class GANDiagnostics:
    """Look at the scores of the discriminator, as probabilities of being real, and at how different drawn things are.

    ``evaluate`` gives ``d_train`` and ``d_real``, the mean probabilities of training things and of those of the split
    (the first above the second: the discriminator knows its training things by heart), ``d_fake``, that of drawn ones
    (all three ½ where it can tell nothing apart), and ``diversity``, the mean distance of two drawn things over that
    of two real ones.
    Where that falls below `collapse_threshold`, a warning says that the generator has collapsed. ``write`` gives ``scores.png``.

    Args:
        count: things of each kind.
        collapse_threshold: a diversity below which the generator draws the same again and again.
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(self, *, count: Positive = 1000, collapse_threshold: Fraction = 0.5) -> None:
        self._count, self._collapse_threshold = count, collapse_threshold
        self._scores: dict[str, Tensor] = {}

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Score training, real and drawn things."""
        nets, device = require(model, Adversaries, WHO), device_of(model)  # type: ignore[type-abstract]
        drawn = drawn_at_random(model, self._count, 0, WHO)
        real = things(examples.data, examples.split, device, WHO, self._count)
        train = things(examples.data, "train", device, WHO, self._count)
        self._scores = {
            name: scored(nets, *each) for name, each in {"d_train": train, "d_real": real, "d_fake": drawn}.items()
        }
        diversity = spread(drawn[0]) / spread(real[0])
        if diversity < self._collapse_threshold:
            warnings.warn(
                f"the generator has collapsed, or learned nothing yet: two things it draws are {diversity:.2f} times "
                f"as far apart as two real ones (collapse_threshold = {self._collapse_threshold}). If it stays so, try a lower lr of both "
                'optimizers, label_smoothing = 0.1, more critic_steps, or loss = "hinge" with '
                'discriminator_norm = "spectral"',
                stacklevel=2,
            )
        return {name: float(scores.mean()) for name, scores in self._scores.items()} | {"diversity": diversity}

    def write(self, folder: Path) -> None:
        """Draw how the probabilities of the last `evaluate` are distributed."""
        with drawing(folder / "scores.png", 5, 3) as figure:
            axes = figure.subplots()
            for (name, scores), colour in zip(self._scores.items(), (GREY, ORANGE, BLUE), strict=True):
                axes.hist(scores.numpy(), bins=40, range=(0, 1), histtype="step", color=colour, label=name)
            axes.set(xlabel="probability of being real", ylabel="things")
            axes.legend()


def scored(nets: Adversaries, drawn: Tensor, targets: Tensor | None) -> Tensor:
    """Return the probabilities (N,) of being real that the discriminator gives things (N, …), on the CPU."""
    wishes = None if nets.num_classes is None else targets
    nets.discriminator.eval()
    with torch.inference_mode():
        scores = torch.cat([nets.discriminator(some, told) for some, told in parts(drawn, wishes)])
    return scores.float().sigmoid().cpu()


def spread(drawn: Tensor) -> float:
    """Return the mean distance of two of N things (N, …)."""
    flat = drawn.flatten(1).float()
    return float(torch.cdist(flat, flat).sum() / (len(flat) * (len(flat) - 1)))
