"""Linear regression by ordinary least squares, fitted by scikit-learn.

Axes: N training examples, B examples of a batch, F features, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sklearn.linear_model import LinearRegression as LeastSquares
from torch import Tensor
from torch.nn import functional as F

from dlpipe.baselines.mean import require_numbers
from dlpipe.baselines.scaled_features import ScaledFeatures, tensor
from dlpipe.data.targets import require_targets
from dlpipe.fields import Positive


class LinearRegression(ScaledFeatures):
    """Predict each number by a weighted sum of the features, by ordinary least squares.

    Args:
        features: the column; needed if the data has several that could be meant.
        cardinalities: how many categories each column of a table has, number 0 included; from the data.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, *, features: str | None = None, cardinalities: Sequence[Positive] | None = None) -> None:
        super().__init__(features, standardize=True, cardinalities=cardinalities)
        self.register_buffer("weight", torch.empty(0, 0))
        self.register_buffer("bias", torch.empty(0))

    def fit(self, **columns: Tensor) -> None:
        """Fit it to the features (N, …) and ``targets`` (N,) or (N, T).

        Raises:
            InputError: there are no targets, or they are classes.
        """
        require_targets(columns, "core.linear_regression")
        targets = columns["targets"]
        require_numbers(targets)
        scaled = self.learn_scaling(self.vectors(columns))
        found = LeastSquares().fit(scaled.double().cpu().numpy(), targets.double().cpu().numpy())
        self.weight, self.bias = tensor(found.coef_), tensor(found.intercept_)  # (F,) and (), or (T, F) and (T,)
        self.to(scaled.device)

    def forward(self, **columns: Tensor) -> Tensor:
        """Map the features (B, …) to numbers, (B,) or (B, T)."""
        if self.weight.dim() == 1:
            return self.scaled(columns) @ self.weight + self.bias
        return F.linear(self.scaled(columns), self.weight, self.bias)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the numbers as they are."""
        return outputs
