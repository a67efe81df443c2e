"""How near drawn images are to real ones, seen by a classifier that learned the real ones.

Axes: N images, F features, K classes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe.fields import NonNegative, Positive
from dlpipe_generative.distances import coverage, frechet_distance, kernel_distance, precision_and_recall
from dlpipe_generative.drawn import drawn_at_random
from dlpipe_generative.reader import STEPS, Reader, taught
from dlpipe_generative.things import device_of, things

WHO = "generative.quality"
NOTE = (
    "on the features of a small classifier trained by dlpipe on this very data; comparable with other runs on the same "
    "data, not with published FID or KID"
)


@dataclass(frozen=True)
class Known:
    """What is known of real images: who reads them, and the features of training images (N, F)."""

    reader: Reader
    features: Tensor


class Quality:
    """Compare drawn images with real ones by the features of a classifier trained on the same data.

    ``evaluate`` gives ``frechet_own`` and ``kid_own``, how far as many drawn images as the split has are from the
    training images; beside them ``frechet_floor`` and ``kid_floor``, how far the real images of the split are: no model
    can be asked to be nearer. They are not comparable with published FID and KID, which use another classifier.
    Further ``precision``, ``recall`` and ``coverage``; ``classes``, how many of the classes are drawn at least half as
    often as if all were equally frequent, and ``rarest_class``, that share of the rarest, 1 if all are; ``as_asked``,
    how often the class that a conditional model was told is read. ``write`` gives ``quality.json``.

    Args:
        num_classes: K.
        count: images to draw and to compare, at the most.
        seed: of what is drawn, and of the classifier.
        classifier_steps: of the training of the classifier.
    """

    primary = "frechet_own"
    goal: Literal["min"] = "min"

    def __init__(
        self,
        num_classes: int,
        *,
        count: Positive = 5000,
        seed: NonNegative = 0,
        classifier_steps: Positive = STEPS,
    ) -> None:
        self._num_classes, self._count, self._seed, self._classifier_steps = num_classes, count, seed, classifier_steps
        self._known: Known | None = None
        self._told: dict[str, object] = {}

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Draw images and compare them."""
        real, classes = things(examples.data, examples.split, device_of(model), WHO, self._count)
        known = self._known = self._known or self._learn(examples, real.device)
        drawn, asked = drawn_at_random(model, len(real), self._seed, WHO)
        seen, seen_real = known.reader.see(drawn), known.reader.see(real)
        precision, recall = precision_and_recall(seen_real, seen)
        read = known.reader.read(drawn)[:, 0]
        shares = read.bincount(minlength=self._num_classes).double() * self._num_classes / len(read)
        metrics = {
            "frechet_own": frechet_distance(seen, known.features),
            "frechet_floor": frechet_distance(seen_real, known.features),
            "kid_own": kernel_distance(seen, known.features[: self._count]),
            "kid_floor": kernel_distance(seen_real, known.features[: self._count]),
            "precision": precision,
            "recall": recall,
            "coverage": coverage(seen_real, seen),
            "classes": float((shares >= 0.5).sum()),
            "rarest_class": float(shares.min()),
        }
        if asked is not None:
            metrics["as_asked"] = float((read == asked).double().mean())
        assert classes is not None
        accuracy = float((known.reader.read(real)[:, 0] == classes).double().mean())
        self._told = {"metrics": metrics, "note": NOTE, "images": len(real), "classifier_accuracy": accuracy}
        return metrics

    def write(self, folder: Path) -> None:
        """Say what was measured, and with what."""
        (folder / "quality.json").write_text(json.dumps(self._told, indent=1) + "\n")

    def _learn(self, examples: Examples, device: torch.device) -> Known:
        images, classes = things(examples.data, "train", device, WHO)
        if classes is None:
            raise InputError(f"{WHO} needs images of classes (a column targets) for its classifier; this data has none")
        reader = taught(images, classes[:, None], [self._num_classes], self._seed, self._classifier_steps)
        return Known(reader, reader.see(images))
