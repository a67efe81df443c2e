"""The mean of the targets, for regression.

Axes: N training examples, B examples of a batch, T targets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlpipe.baselines.scaled_features import short_type
from dlpipe.errors import InputError


class Mean(nn.Module):
    """Predict the mean of the targets of the training split for every example."""

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.empty(0))

    def fit(self, targets: Tensor) -> None:
        """Learn the mean of the ``targets`` (N,) or (N, T); nothing else is read."""
        require_numbers(targets)
        self.value = targets.double().mean(0).to(targets.dtype)

    def forward(self, **columns: Tensor) -> Tensor:
        """Return the mean for each example, (B,) or (B, T)."""
        count = len(next(iter(columns.values())))
        return self.value.expand(count, *self.value.shape)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the numbers as they are."""
        return outputs


def require_numbers(targets: Tensor) -> None:
    """Raise an `InputError` unless targets are numbers, one or several for each example."""
    if not targets.is_floating_point() or targets.dim() not in (1, 2):
        raise InputError(
            f"the targets have the shape {tuple(targets.shape)} and the type {short_type(targets)}; expected numbers, "
            "one or several for each example: choose data for regression, or a baseline for classes"
        )
