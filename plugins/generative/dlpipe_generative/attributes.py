"""Frequencies of attributes in generated images, compared with the real ones.

Axes: N images, A attributes, V values of all attributes together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, write_csv
from dlpipe.fields import NonNegative, Positive
from dlpipe.figures import BLUE, GREY, drawing
from dlpipe.report_items import ReportItem
from dlpipe_generative.image_classifier import STEPS, ImageClassifier, train_classifier
from dlpipe_generative.sampling import latent_seed, random_samples, sample_count
from dlpipe_generative.split_tensors import device_of, split_tensors

WHO = "generative.attributes"


@dataclass(frozen=True)
class ValueShare:
    """Relative frequency of an attribute value in generated images and in real ones."""

    attribute: str
    value: str
    generated: float
    real: float

    @property
    def deviation(self) -> float:
        """Relative deviation from the real frequency."""
        return abs(self.generated / self.real - 1)


class Attributes:
    """Count attributes of generated images with a classifier that was trained on real ones.

    ``evaluate`` returns ``worst_deviation``, the maximum of |generated share / real share - 1| over all values of all
    attributes, ``mean_deviation``, their mean, and ``reader_accuracy``, the accuracy of the classifier on the split.
    Samples of a conditional model have equally frequent classes, which need not be the real frequencies. ``write``
    writes ``attributes.csv`` and ``attributes.png``.

    Args:
        attributes: real frequency of each value, by attribute.
        count: number of images to generate.
        seed: of the latent vectors and of the classifier.
        classifier_steps: training steps of the classifier.
    """

    primary = "worst_deviation"
    goal: Literal["min"] = "min"

    def __init__(
        self,
        attributes: Mapping[str, Mapping[str, float]],
        *,
        count: Positive = 5000,
        seed: NonNegative = 3,
        classifier_steps: Positive = STEPS,
    ) -> None:
        self._attributes = attributes
        self._count, self._seed, self._classifier_steps = count, seed, classifier_steps
        self._classifier: ImageClassifier | None = None
        self._shares: list[ValueShare] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Generate images, classify them, and count."""
        device = device_of(model)
        self._classifier = self._classifier or self._train_classifier(examples, device)
        seed = latent_seed(self._seed, examples.split)
        generated, _ = random_samples(model, sample_count(self._count, examples), seed, WHO)
        self._shares = value_shares(self._classifier.classify(generated), self._attributes)
        real, _ = split_tensors(examples.data, examples.split, device, WHO)
        factors = _factors(examples.data, examples.split).to(device)
        deviations = [share.deviation for share in self._shares]
        return {
            "worst_deviation": max(deviations),
            "mean_deviation": sum(deviations) / len(deviations),
            "reader_accuracy": float((self._classifier.classify(real) == factors).double().mean()),
        }

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the frequencies of the last `evaluate` as a table and as a bar chart."""
        lines = [
            (share.attribute, share.value, *(f"{part:.4f}" for part in (share.generated, share.real, share.deviation)))
            for share in self._shares
        ]
        write_csv(folder / "attributes.csv", [("attribute", "value", "generated", "real", "deviation"), *lines])
        with drawing(folder / "attributes.png", 7, 3.5) as figure:
            axes = figure.subplots()
            positions = torch.arange(len(self._shares)).numpy()
            axes.bar(positions - 0.2, [share.real for share in self._shares], 0.4, color=GREY, label="real")
            axes.bar(positions + 0.2, [share.generated for share in self._shares], 0.4, color=BLUE, label="generated")
            names = [f"{share.attribute}: {share.value}" for share in self._shares]
            axes.set_xticks(positions, names, rotation=60, ha="right", fontsize=7)
            axes.set_ylabel("share of images")
            figure.legend(loc="outside upper center", ncols=2, frameon=False)
        worst = max(self._shares, key=lambda share: share.deviation)
        return [
            ReportItem(
                "attributes.png",
                "Attributes of generated images",
                "Share of images with each value of each attribute: real (grey), and generated (blue), as read by a "
                "classifier that was trained on real images. The bars of a pair should be equally high; the largest "
                f"relative deviation is that of {worst.attribute}: {worst.value}, {worst.generated:.3f} instead of "
                f"{worst.real:.3f}.",
            ),
            ReportItem(
                "attributes.csv",
                "Shares of attribute values",
                "The numbers of the chart; deviation is |generated / real - 1|.",
            ),
        ]

    def _train_classifier(self, examples: Examples, device: torch.device) -> ImageClassifier:
        images, _ = split_tensors(examples.data, "train", device, WHO)
        sizes = [len(frequencies) for frequencies in self._attributes.values()]
        steps = examples.limit or self._classifier_steps
        return train_classifier(images, _factors(examples.data, "train").to(device), sizes, self._seed, steps)


def value_shares(values: Tensor, attributes: Mapping[str, Mapping[str, float]]) -> list[ValueShare]:
    """Return the frequency of each value among the predicted values (N, A) of images."""
    shares = []
    for column, (attribute, frequencies) in zip(values.unbind(1), attributes.items(), strict=True):
        generated = column.bincount(minlength=len(frequencies)).double() / len(column)
        shares += [
            ValueShare(attribute, value, share, real)
            for (value, real), share in zip(frequencies.items(), generated.tolist(), strict=True)
        ]
    return shares


def _factors(data: Any, split: str) -> Tensor:
    """Return the values (N, A) of the attributes of a split.

    Raises:
        InputError: the data does not provide them.
    """
    columns = getattr(data.split(split), "columns", {})
    if "factors" not in columns:
        raise InputError(
            f"{WHO} needs data with a column factors, such as generative.manga_faces; split {split} of the data has "
            f"{', '.join(columns) or 'no columns'}"
        )
    factors: Tensor = columns["factors"]
    return factors
