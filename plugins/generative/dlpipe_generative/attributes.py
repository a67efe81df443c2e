"""How often drawn things have each attribute, beside how often the real ones do.

Axes: N images, A attributes, V values of all attributes together.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe.fields import NonNegative, Positive
from dlpipe.figures import BLUE, GREY, drawing
from dlpipe_generative.drawn import drawn_at_random
from dlpipe_generative.reader import STEPS, Reader, taught
from dlpipe_generative.things import device_of, things

WHO = "generative.attributes"


@dataclass(frozen=True)
class Share:
    """How often a value was read, and how often it is real."""

    attribute: str
    value: str
    drawn: float
    real: float

    @property
    def deviation(self) -> float:
        """How far the share is from the real one, as a share of that."""
        return abs(self.drawn / self.real - 1)


class Attributes:
    """Let a classifier that learned the attributes of real images read drawn ones, and count.

    ``evaluate`` gives ``worst_deviation``, the largest of |share drawn / share real - 1| over all values of all
    attributes, ``mean_deviation``, the mean of these, and ``reader_accuracy``, how well the classifier reads the images
    of the split. A conditional model draws each class equally often, which may not be how often it is real. ``write``
    gives ``attributes.csv`` and ``attributes.png``.

    Args:
        attributes: by name, how often each value is real.
        count: images to draw.
        seed: of what is drawn, and of the classifier.
        classifier_steps: of the training of the classifier.
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
        self._reader: Reader | None = None
        self._shares: list[Share] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Draw images, read them, and count."""
        device = device_of(model)
        self._reader = self._reader or self._learn(examples.data, device)
        drawn, _ = drawn_at_random(model, self._count, self._seed, WHO)
        self._shares = shares_of(self._reader.read(drawn), self._attributes)
        real, _ = things(examples.data, examples.split, device, WHO)
        wanted = _factors(examples.data, examples.split).to(device)
        deviations = [share.deviation for share in self._shares]
        return {
            "worst_deviation": max(deviations),
            "mean_deviation": sum(deviations) / len(deviations),
            "reader_accuracy": float((self._reader.read(real) == wanted).double().mean()),
        }

    def write(self, folder: Path) -> None:
        """Write shares of the last `evaluate`, as a table and as bars."""
        with (folder / "attributes.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["attribute", "value", "drawn", "real", "deviation"])
            for share in self._shares:
                numbers = (share.drawn, share.real, share.deviation)
                table.writerow([share.attribute, share.value, *(f"{number:.4f}" for number in numbers)])
        with drawing(folder / "attributes.png", 7, 3.5) as figure:
            axes = figure.subplots()
            places = torch.arange(len(self._shares)).numpy()
            axes.bar(places - 0.2, [share.real for share in self._shares], 0.4, color=GREY, label="real")
            axes.bar(places + 0.2, [share.drawn for share in self._shares], 0.4, color=BLUE, label="drawn")
            names = [f"{share.attribute}: {share.value}" for share in self._shares]
            axes.set_xticks(places, names, rotation=60, ha="right", fontsize=7)
            axes.set_ylabel("share of images")
            axes.legend()

    def _learn(self, data: Any, device: torch.device) -> Reader:
        images, _ = things(data, "train", device, WHO)
        sizes = [len(values) for values in self._attributes.values()]
        return taught(images, _factors(data, "train").to(device), sizes, self._seed, self._classifier_steps)


def shares_of(read: Tensor, attributes: Mapping[str, Mapping[str, float]]) -> list[Share]:
    """Return how often each value was read in images (N, A)."""
    shares = []
    for column, (attribute, values) in zip(read.unbind(1), attributes.items(), strict=True):
        found = column.bincount(minlength=len(values)).double() / len(column)
        shares += [
            Share(attribute, value, share, real)
            for (value, real), share in zip(values.items(), found.tolist(), strict=True)
        ]
    return shares


def _factors(data: Any, split: str) -> Tensor:
    """Return the values (N, A) of the attributes of a split.

    Raises:
        InputError: the data does not tell them.
    """
    columns = getattr(data.split(split), "columns", {})
    if "factors" not in columns:
        raise InputError(f"{WHO} needs data that tells the factors of each image, such as generative.manga_faces")
    factors: Tensor = columns["factors"]
    return factors
