"""Fidelity and diversity of generated images, measured on the features of a classifier trained on real ones.

Axes: N images, F features, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe.fields import NonNegative, Positive
from dlpipe.json_text import to_json
from dlpipe.report_items import ReportItem
from dlpipe_generative.distances import (
    bootstrap_deviation,
    coverage,
    frechet_distance,
    kernel_distance,
    precision_and_recall,
)
from dlpipe_generative.image_classifier import STEPS, ImageClassifier, train_classifier
from dlpipe_generative.sampling import latent_seed, random_samples
from dlpipe_generative.split_tensors import device_of, split_tensors

WHO = "generative.quality"
NOTE = (
    "on the features of a small classifier trained by dlpipe on the same data; comparable with other runs on that "
    "data, not with published FID or KID"
)


@dataclass(frozen=True)
class Reference:
    """The classifier, and its features of the training images (N, F)."""

    classifier: ImageClassifier
    features: Tensor

    def some(self, count: int) -> Tensor:
        """Return at most `count` of the features, spread evenly over the training images."""
        return self.features[torch.linspace(0, len(self.features) - 1, min(count, len(self.features))).long()]


class Quality:
    """Compare generated images with real ones on the features of a classifier trained on the same data.

    ``evaluate`` returns ``frechet_own`` and ``kid_own``, the Fréchet and kernel distance of generated images, as many
    as the split has, from the training images. ``frechet_real`` and ``kid_real`` are those of the real images of the
    split, and ``frechet_real_deviation`` is the standard deviation of the former over bootstrap resamples of each class
    of these images. A model can be nearer to the training images than they are. None of these is comparable with
    published FID and KID, which use another classifier. ``precision``, ``recall`` and ``coverage`` are the metrics of
    the same name; ``classes`` is the number of classes that have at least half of the samples they would have if all
    were equally frequent, ``rarest_class`` that fraction for the rarest class (1 if all are equally frequent), and
    ``as_asked`` the share of samples of a conditional model that are classified as the class they were conditioned on.
    ``write`` writes ``quality.json``.

    Args:
        num_classes: K.
        count: maximum number of images to generate and to compare.
        seed: of the latent vectors and of the classifier.
        classifier_steps: training steps of the classifier.
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
        self._reference: Reference | None = None
        self._of_real: dict[tuple[str, int], dict[str, float]] = {}
        self._report: dict[str, object] = {}

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Generate images and compare them."""
        count = examples.at_most(self._count)
        real, classes = split_tensors(examples.data, examples.split, device_of(model), WHO, count)
        if len(real) < 2:
            raise InputError(
                f"{WHO} compares the variance of images, and there is {len(real)} of {examples.split}; expected at "
                "least two: give more data, a larger count, or splits that have as many"
            )
        reference = self._reference = self._reference or self._train_classifier(examples, real.device)
        assert classes is not None
        seed = latent_seed(self._seed, examples.split)
        generated, targets = random_samples(model, len(real), seed, WHO)
        features = reference.classifier.extract_features(generated)
        real_features = reference.classifier.extract_features(real)
        precision, recall = precision_and_recall(real_features, features)
        predicted = reference.classifier.classify(generated)[:, 0]
        shares = predicted.bincount(minlength=self._num_classes).double() * self._num_classes / len(predicted)
        metrics = {
            "frechet_own": frechet_distance(features, reference.features),
            "kid_own": kernel_distance(features, reference.some(count)),
            **self._distances_of_real(examples.split, real_features, classes, reference.some(count)),
            "precision": precision,
            "recall": recall,
            "coverage": coverage(real_features, features),
            "classes": float((shares >= 0.5).sum()),
            "rarest_class": float(shares.min()),
        }
        if targets is not None:
            metrics["as_asked"] = float((predicted == targets).double().mean())
        accuracy = float((reference.classifier.classify(real)[:, 0] == classes).double().mean())
        self._report = {"metrics": metrics, "note": NOTE, "images": len(real), "classifier_accuracy": accuracy}
        return metrics

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the metrics, and how they were measured."""
        (folder / "quality.json").write_text(to_json(self._report, indent=1) + "\n")
        return [
            ReportItem(
                "quality.json",
                "Fidelity and diversity of generated images",
                f"Measured on {self._report['images']} generated and as many real images, {NOTE}. frechet_own and "
                "kid_own are the distances of generated images from the training images, frechet_real and kid_real "
                "those of the real images; precision, recall and coverage are best at 1.",
            )
        ]

    def _distances_of_real(self, split: str, features: Tensor, classes: Tensor, some: Tensor) -> dict[str, float]:
        """Return the distances of real images from the training images, and how much the first varies by chance.

        Args:
            some: features of as many training images, at most.
        """
        assert self._reference is not None
        distance, key = partial(frechet_distance, self._reference.features), (split, len(features))
        if key not in self._of_real:  # no model changes them
            self._of_real[key] = {
                "frechet_real": distance(features),
                "frechet_real_deviation": bootstrap_deviation(distance, features, classes, self._seed),
                "kid_real": kernel_distance(features, some),
            }
        return self._of_real[key]

    def _train_classifier(self, examples: Examples, device: torch.device) -> Reference:
        images, classes = split_tensors(examples.data, "train", device, WHO)
        if classes is None:
            raise InputError(
                f"{WHO} trains a classifier, which needs data with a column targets; {type(examples.data).__name__} "
                "has none; choose data with classes, or remove this evaluator"
            )
        steps = examples.limit or self._classifier_steps
        classifier = train_classifier(images, classes[:, None], [self._num_classes], self._seed, steps)
        return Reference(classifier, classifier.extract_features(images))
