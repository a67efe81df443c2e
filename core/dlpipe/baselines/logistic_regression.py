"""Logistic regression, fitted by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sklearn.linear_model import LogisticRegression as Regression
from torch import Tensor
from torch.nn import functional as F

from dlpipe.baselines.classifier import Classifier
from dlpipe.baselines.scaled_features import Array, tensor
from dlpipe.fields import Positive, PositiveFloat


class LogisticRegression(Classifier):
    """Score each class by a weighted sum of the features.

    Args:
        num_classes: K.
        features: the column; needed if the data has several that could be meant.
        cardinalities: how many categories each column of a table has, number 0 included; from the data.
        standardize: whether the mean of each feature becomes 0 and its standard deviation 1.
        inverse_regularization: C of scikit-learn; the smaller, the smaller the weights.
        max_iterations: of the solver (L-BFGS); it warns if they are too few.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        features: str | None = None,
        cardinalities: Sequence[Positive] | None = None,
        standardize: bool = True,
        inverse_regularization: PositiveFloat = 1.0,
        max_iterations: Positive = 1000,
    ) -> None:
        super().__init__(num_classes, features, standardize=standardize, cardinalities=cardinalities)
        self._options = {"C": inverse_regularization, "max_iter": max_iterations}
        self.register_buffer("weight", torch.empty(0, 0))
        self.register_buffer("bias", torch.empty(0))

    def _fit(self, features: Array, classes: Array, seed: int) -> None:
        if len(self.classes) == 1:  # which scikit-learn refuses
            self.weight, self.bias = torch.zeros(1, features.shape[1]), torch.zeros(1)
            return
        found = Regression(**self._options).fit(features, classes)
        weight, bias = tensor(found.coef_), tensor(found.intercept_)
        if len(self.classes) == 2:  # one row: the second class against the first
            weight, bias = torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])
        self.weight, self.bias = weight, bias

    def class_scores(self, features: Tensor) -> Tensor:
        """Map features (B, F) to log-probabilities (B, C)."""
        return F.linear(features, self.weight, self.bias).log_softmax(1)
