"""The classifier that knows nothing but how frequent each class is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dlpipe.baselines.classifier import Classifier, log
from dlpipe.baselines.scaled_features import Array, tensor


class MajorityClass(Classifier):
    """Predict the most frequent class of the training split for every example.

    The probability of a class is its share of the training split, so the cross-entropy is the entropy of the classes.

    Args:
        num_classes: K.
    """

    shares: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, None, standardize=False)
        self.register_buffer("shares", torch.empty(0))

    def fit(self, seed: int, targets: Tensor) -> None:  # type: ignore[override]
        """Count the classes of the ``targets`` (N,); nothing else is read."""
        super().fit(seed, targets=targets)

    def vectors(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Return one feature that is always 0."""
        return self.mean.new_zeros(len(next(iter(columns.values()))), 1)

    def _fit(self, features: Array, classes: Array, seed: int) -> None:
        counts = tensor(classes, torch.int64).bincount()
        self.shares = counts / counts.sum()

    def class_scores(self, features: Tensor) -> Tensor:
        """Map features (B, F) to log-probabilities (B, C), the same for all."""
        return log(self.shares).expand(len(features), -1)
