"""What a classifier learns from drawn images, judged by real ones.

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
from dlpipe_generative.drawn import drawn_at_random
from dlpipe_generative.reader import STEPS, taught
from dlpipe_generative.things import device_of, things

WHO = "generative.train_on_generated"


class TrainOnGenerated:
    """Teach a classifier with drawn images, of the classes that were asked for, and let it read real ones.

    ``evaluate`` gives its ``accuracy``, and ``accuracy_real``, that of the same classifier taught with real images.

    Args:
        num_classes: of the data.
        count: images to draw.
        seed: of what is drawn, and of the classifiers.
        classifier_steps: of the training of each classifier.
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
        """Teach and judge."""
        drawn, asked = drawn_at_random(model, self._count, self._seed, WHO)
        if asked is None:
            raise InputError(f"{WHO} needs a model that can be told a class; set [model] conditional = true")
        real = things(examples.data, examples.split, device_of(model), WHO)
        if examples.split not in self._accuracy_real:
            known, classes = things(examples.data, "train", device_of(model), WHO)
            self._accuracy_real[examples.split] = self._accuracy(known, classes, real)
        return {
            "accuracy": self._accuracy(drawn, asked, real),
            "accuracy_real": self._accuracy_real[examples.split],
        }

    def write(self, folder: Path) -> None:
        """Write nothing: these are two numbers."""

    def _accuracy(self, images: Tensor, classes: Tensor | None, judged_by: tuple[Tensor, Tensor | None]) -> float:
        assert classes is not None
        real, wanted = judged_by
        assert wanted is not None
        reader = taught(images.clone(), classes[:, None], [self._num_classes], self._seed, self._classifier_steps)
        return float((reader.read(real)[:, 0] == wanted).double().mean())
