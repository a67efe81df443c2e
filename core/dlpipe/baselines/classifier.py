"""What all classifiers among the baselines have in common: classes, probabilities.

Axes: N training examples, B examples of a batch, F features, C classes that occur in the training split, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from dlpipe.baselines.scaled_features import Array, ScaledFeatures, short_type
from dlpipe.data.targets import IGNORE_INDEX, require_targets
from dlpipe.errors import InputError

#: A probability of 0 would make the cross-entropy infinite.
LEAST = torch.finfo(torch.float32).eps


class Classifier(ScaledFeatures):
    """A classifier that is fitted to the features of the data and ``targets``; see `ScaledFeatures`."""

    classes: Tensor

    def __init__(
        self,
        num_classes: int,
        features: str | None,
        *,
        standardize: bool,
        cardinalities: Sequence[int] | None = None,
    ) -> None:
        super().__init__(features, standardize=standardize, cardinalities=cardinalities)
        self._num_classes = num_classes
        self.register_buffer("classes", torch.empty(0, dtype=torch.int64))

    def fit(self, seed: int, **columns: Tensor) -> None:
        """Fit the classifier.

        Args:
            columns: the feature column (N, …), ``targets`` (N,), and what else the data has.

        Raises:
            InputError: there is no such column, or not these targets.
        """
        require_targets(columns, f"core.{type(self).__name__}")
        targets = columns["targets"]
        if targets.dim() != 1 or targets.is_floating_point():
            raise InputError(
                f"the targets have the shape {tuple(targets.shape)} and the type {short_type(targets)}; expected a "
                "class for each example, one whole number each"
            )
        known = targets != IGNORE_INDEX
        scaled = self.learn_scaling(self.vectors(columns)[known])
        self.classes, numbers = targets[known].unique(return_inverse=True)
        self._fit(scaled.cpu().numpy(), numbers.cpu().numpy(), seed % 2**32)
        self.to(scaled.device)

    def forward(self, **columns: Tensor) -> Tensor:
        """Map the feature column (B, …) to log-probabilities (B, K)."""
        scaled = self.scaled(columns)
        result = scaled.new_full((len(scaled), self._num_classes), LEAST).log()
        return result.index_copy(1, self.classes, self.class_scores(scaled))

    @abstractmethod
    def _fit(self, features: Array, classes: Array, seed: int) -> None:
        """Set the buffers from features (N, F) and classes (N,), numbered from 0 to C - 1 without gaps."""

    @abstractmethod
    def class_scores(self, features: Tensor) -> Tensor:
        """Map features (B, F) to log-probabilities (B, C)."""


def log(probabilities: Tensor) -> Tensor:
    """Return the logarithms, of nothing less than `LEAST`."""
    return probabilities.clamp_min(LEAST).log()
