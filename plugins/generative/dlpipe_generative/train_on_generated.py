"""Accuracy on real images of a classifier trained on generated ones.

Source: Ravuri & Vinyals 2019, "Classification Accuracy Score for Conditional Generative Models",
https://arxiv.org/abs/1905.10887, section 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe.fields import NonNegative, Positive
from dlpipe.report_items import ReportItem
from dlpipe_generative.image_classifier import STEPS, train_classifier
from dlpipe_generative.sampling import latent_seed, random_samples, sample_count
from dlpipe_generative.split_tensors import device_of, split_tensors

WHO = "generative.train_on_generated"


class TrainOnGenerated:
    """Train a classifier on generated images and the classes they were conditioned on, and test it on real images.

    ``evaluate`` returns its ``accuracy``, and ``accuracy_real``, that of the same classifier trained on real images.

    Args:
        num_classes: of the data.
        count: number of images to generate.
        seed: of the latent vectors and of the classifiers.
        classifier_steps: training steps of each classifier.
    """

    primary = "accuracy"
    goal: Literal["max"] = "max"

    def __init__(
        self,
        num_classes: int,
        *,
        count: Positive = 60_000,
        seed: NonNegative = 1,
        classifier_steps: Positive = STEPS,
    ) -> None:
        self._num_classes, self._count, self._seed, self._classifier_steps = num_classes, count, seed, classifier_steps
        self._accuracy_real: dict[str, float] = {}

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Train the classifiers and test them on the split."""
        seed = latent_seed(self._seed, examples.split)
        generated, classes_generated = random_samples(model, sample_count(self._count, examples), seed, WHO)
        if classes_generated is None:
            raise InputError(
                f"{WHO} needs a conditional model; the model is an unconditional {type(model).__name__}; set "
                "conditional = true for the model"
            )
        steps = examples.limit or self._classifier_steps
        real = split_tensors(examples.data, examples.split, device_of(model), WHO)
        if examples.split not in self._accuracy_real:
            train, classes = split_tensors(examples.data, "train", device_of(model), WHO)
            self._accuracy_real[examples.split] = self._accuracy(train, classes, real, steps)
        return {
            "accuracy": self._accuracy(generated, classes_generated, real, steps),
            "accuracy_real": self._accuracy_real[examples.split],
        }

    def write(self, folder: Path) -> list[ReportItem]:
        """Write nothing: the metrics say it all."""
        return []

    def _accuracy(
        self, images: Tensor, classes: Tensor | None, test: tuple[Tensor, Tensor | None], steps: int
    ) -> float:
        assert classes is not None
        real, targets = test
        assert targets is not None
        classifier = train_classifier(images.clone(), classes[:, None], [self._num_classes], self._seed, steps)
        return float((classifier.classify(real)[:, 0] == targets).double().mean())
