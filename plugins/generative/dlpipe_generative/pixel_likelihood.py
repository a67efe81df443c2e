"""Likelihood of images under a model that generates them pixel by pixel, and which pixels are hard to predict."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, ExampleScores
from dlpipe.figures import drawing
from dlpipe.report_items import ReportItem
from dlpipe_generative.pixel_cnn import PixelCNN
from dlpipe_generative.split_tensors import batched, device_of, split_tensors

WHO = "generative.pixel_likelihood"


class PixelLikelihood:
    """Measure the likelihood of each image, exactly.

    ``evaluate`` returns ``nats``, the negative log-likelihood of an image, a sum over its pixels and a mean over
    images; ``bits_per_dim``, the same per pixel in bits; and ``independent_bits_per_dim``, that of pixels which do not
    depend on each other, with the frequencies of levels at each place of the training images, of all classes together.
    They are comparable for the same data and number of levels; a conditional model knows the class in addition.
    ``write`` draws the mean of each pixel (``bits.png``).
    """

    primary = "bits_per_dim"
    goal: Literal["min"] = "min"

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._bits = torch.zeros(0)
        self._frequencies: Tensor | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Measure every image of the split.

        Raises:
            InputError: the model does not generate pixel by pixel.
        """
        if not isinstance(model, PixelCNN):
            raise InputError(
                f"{WHO} needs a model that generates images pixel by pixel, generative.pixel_cnn; the model is a "
                f"{type(model).__name__}"
            )
        if self._frequencies is None:
            train, _ = split_tensors(examples.data, "train", device_of(model), WHO)
            counts = torch.zeros(model.levels, *train.shape[1:], dtype=torch.float64)
            for (images,) in batched(train):
                assert images is not None
                counts += level_counts(model.rounded(images).cpu(), model.levels)
            # One more of each is counted (Laplace), as an image may have what no training image has.
            self._frequencies = (counts + 1) / (counts + 1).sum(0)
        self._rows, bits, independent = [], [], []
        for batch, nats in examples.outputs(model):
            self._rows += batch["rows"].tolist()
            bits.append(nats.double().cpu() / math.log(2))
            levels = model.rounded(batch["images"]).cpu()
            independent.append(-self._frequencies.gather(0, levels).log2())
        self._bits = torch.cat(bits)
        per_dim = float(self._bits.mean())
        return {
            "bits_per_dim": per_dim,
            "nats": per_dim * math.log(2) * model.latent_dim,
            "independent_bits_per_dim": float(torch.cat(independent).mean()),
        }

    def example_scores(self) -> ExampleScores:
        """Return the bits per pixel of each image of the last `evaluate`."""
        return ExampleScores(self._rows, self._bits.flatten(1).mean(1).tolist())

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw which pixels are hard to predict."""
        means = self._bits.mean((0, 1))
        with drawing(folder / "bits.png", 4.2, 3.4) as figure:
            axes = figure.subplots()
            drawn = axes.imshow(means.numpy(), vmin=0)
            axes.set_xlabel("column")
            axes.set_ylabel("row")
            figure.colorbar(drawn, label="bits")
        return [
            ReportItem(
                "bits.png",
                "Which pixels are hard to predict",
                "Negative log-likelihood of each pixel in bits, given those above it and to its left: means over "
                f"{len(self._rows)} images. Pixels that are nearly always black cost nothing.",
            )
        ]


def level_counts(levels: Tensor, count: int) -> Tensor:
    """Return how often each level occurs at each place (count, C, H, W), given those of images (N, C, H, W)."""
    counts = torch.zeros(count, *levels.shape[1:], dtype=torch.float64)
    return counts.scatter_add_(0, levels, torch.ones_like(levels, dtype=torch.float64))
