"""Scores of a discriminator and diversity of a generator, with a warning about mode collapse.

Axes: N samples.
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
from dlpipe.report_items import ReportItem
from dlpipe_generative.distances import pairwise_distances
from dlpipe_generative.gan_losses import LossName
from dlpipe_generative.protocols import AdversarialModel, require
from dlpipe_generative.sampling import random_samples
from dlpipe_generative.split_tensors import batched, device_of, split_tensors

WHO = "generative.gan_diagnostics"


class GANDiagnostics:
    """Measure the discriminator's probabilities of being real, and the diversity of generated samples.

    ``evaluate`` returns ``d_train``, ``d_real`` and ``d_fake``, the mean probabilities (the sigmoid of the scores) for
    training samples, samples of the split, and generated samples: all three are ½ if the discriminator cannot
    distinguish them; ``d_train`` above ``d_real`` means that it overfits. The scores of a critic (loss "wgan_gp") mean
    nothing but for their differences: ``d_train`` and ``d_real`` are then mean scores above that of generated samples,
    and there is no ``d_fake``. ``diversity`` is the mean distance between two generated samples divided by that between
    two real ones. A warning reports a diversity below `collapse_threshold`. ``write`` writes ``scores.png``.

    Args:
        count: number of training, real and generated samples each.
        collapse_threshold: a diversity below this counts as mode collapse.
        loss: that the discriminator was trained with; None takes the trainer's.
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(
        self, *, count: Positive = 1000, collapse_threshold: Fraction = 0.5, loss: LossName | None = None
    ) -> None:
        self._count, self._collapse_threshold = count, collapse_threshold
        self._differences = loss == "wgan_gp"
        self._scores: dict[str, Tensor] = {}
        self._split = ""

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Score training, real and generated samples."""
        nets, device = require(model, AdversarialModel, WHO), device_of(model)  # type: ignore[type-abstract]
        count = examples.at_most(self._count)
        generated = random_samples(model, count, 0, WHO)
        real = split_tensors(examples.data, examples.split, device, WHO, count)
        train = split_tensors(examples.data, "train", device, WHO, count)
        self._split = examples.split
        scores = {
            name: discriminator_scores(nets, *each)
            for name, each in {"d_train": train, "d_real": real, "d_fake": generated}.items()
        }
        self._scores = {
            name: each - scores["d_fake"].mean() if self._differences else each.sigmoid()
            for name, each in scores.items()
        }
        diversity = mean_pairwise_distance(generated[0]) / mean_pairwise_distance(real[0])
        if diversity < self._collapse_threshold:
            warnings.warn(
                f"diversity = {diversity:.2f} is below collapse_threshold = {self._collapse_threshold}: the generator "
                "has collapsed, or has not learned anything yet. If this persists, try a lower lr of both optimizers, "
                'label_smoothing = 0.1, more critic_steps, or loss = "hinge" with discriminator_norm = "spectral"',
                stacklevel=2,
            )
        measured = [name for name in self._scores if not (self._differences and name == "d_fake")]
        return {name: float(self._scores[name].mean()) for name in measured} | {"diversity": diversity}

    def write(self, folder: Path) -> list[ReportItem]:
        """Plot a histogram of the probabilities, or scores, of the last `evaluate`."""
        pooled = torch.cat(list(self._scores.values()))
        limits = (float(pooled.min()), float(pooled.max())) if self._differences else (0.0, 1.0)
        with drawing(folder / "scores.png", 5, 3) as figure:
            axes = figure.subplots()
            kinds = ("training", self._split, "generated")
            for (name, scores), kind, color in zip(self._scores.items(), kinds, (GREY, ORANGE, BLUE), strict=True):
                label = f"{name} ({kind}): mean {scores.mean():.2f}"
                axes.hist(scores.numpy(), bins=40, range=limits, histtype="step", color=color, label=label)
            scale = "score above the mean of generated samples" if self._differences else "probability of being real"
            axes.set(xlabel=scale, ylabel="samples")
            figure.legend(loc="outside upper center", frameon=False)
        counts = ", ".join(f"{len(scores)} {kind}" for scores, kind in zip(self._scores.values(), kinds, strict=True))
        return [ReportItem("scores.png", "Discriminator scores", self._describe(counts))]

    def _describe(self, counts: str) -> str:
        overfits = "training samples to the right of those of the split mean that the discriminator overfits"
        if self._differences:
            return (
                f"Histograms of the critic's score for {counts} samples, above the mean of generated ones. At the end "
                f"of a good training, all three lie around 0; {overfits}."
            )
        return (
            f"Histograms of the sigmoid of the discriminator's score for {counts} samples; 1 means real. At the end of "
            f"a good training, all three lie around ½; {overfits}, generated ones near 0 that it always wins."
        )


def discriminator_scores(nets: AdversarialModel, samples: Tensor, targets: Tensor | None) -> Tensor:
    """Return the discriminator's scores (N,) of samples (N, …), on the CPU."""
    classes = None if nets.num_classes is None else targets
    nets.discriminator.eval()
    with torch.inference_mode():
        scores = torch.cat(
            [nets.discriminator(some, their_classes) for some, their_classes in batched(samples, classes)]
        )
    return scores.float().cpu()


def mean_pairwise_distance(samples: Tensor) -> float:
    """Return the mean distance between two of N samples (N, …)."""
    flat = samples.flatten(1)
    return float(pairwise_distances(flat, flat).sum() / (len(flat) * (len(flat) - 1)))
