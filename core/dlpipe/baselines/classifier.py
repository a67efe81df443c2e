"""What all baselines have in common: features from a column, classes, probabilities.

Axes: N training examples, B examples of a batch, F features, C classes that occur in the training split, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlpipe.data.columns import is_length
from dlpipe.data.targets import IGNORE_INDEX, require_targets
from dlpipe.errors import InputError
from dlpipe.messages import shown

#: A probability of 0 would make the cross-entropy infinite.
LEAST = torch.finfo(torch.float32).eps
Array = NDArray[Any]


class Classifier(nn.Module):
    """A classifier that is fitted to one column of the data and ``targets``.

    Images and tables are used as they are, one feature per number. Of a sequence of vectors, the features are their
    mean.

    Args:
        features: the column; needed if the data has several that could be meant.
        standardize: whether the mean of each feature becomes 0 and its standard deviation 1.
    """

    classes: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, num_classes: int, features: str | None, *, standardize: bool) -> None:
        super().__init__()
        self._num_classes, self._features, self._standardize = num_classes, features, standardize
        self.register_buffer("classes", torch.empty(0, dtype=torch.int64))
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("scale", torch.empty(0))

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
                f"the targets have the shape {tuple(targets.shape)} and the type {_short(targets)}; expected a class "
                "for each example, one whole number each"
            )
        vectors = self._vectors(columns)
        known = targets != IGNORE_INDEX
        vectors, targets = vectors[known], targets[known]
        if not vectors.isfinite().all():
            raise InputError("there are features that are NaN or infinite; expected numbers")
        self.mean = vectors.mean(0) if self._standardize else vectors.new_zeros(vectors.size(1))
        deviation = vectors.std(0, correction=0) if self._standardize else vectors.new_ones(vectors.size(1))
        self.scale = torch.where(deviation > 0, deviation, 1)
        self.classes, numbers = targets.unique(return_inverse=True)
        scaled = (vectors - self.mean) / self.scale
        self._fit(scaled.cpu().numpy(), numbers.cpu().numpy(), seed % 2**32)
        self.to(vectors.device)

    def forward(self, **columns: Tensor) -> Tensor:
        """Map the feature column (B, …) to log-probabilities (B, K)."""
        scaled = (self._vectors(columns) - self.mean) / self.scale
        result = scaled.new_full((len(scaled), self._num_classes), LEAST).log()
        return result.index_copy(1, self.classes, self.log_probabilities(scaled))

    def _vectors(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Return the features (B, F) of a batch."""
        lengths = {key for key in columns if is_length(key)}
        candidates = [key for key in columns if key not in ("targets", *lengths)]
        if self._features is None and len(candidates) != 1:
            raise InputError(
                f"features is not given, and the data has the columns {', '.join(candidates)}; name one of them"
            )
        name = self._features or candidates[0]
        if name not in candidates:
            raise InputError(f"features = {shown(name)}: the data has the columns {', '.join(candidates)}")
        values = columns[name]
        if lengths and values.dim() > 1:
            own = f"{name}_lengths"
            length = columns[own if own in lengths else "lengths"]
            if values.size(1) == int(length.max()):
                if not values.is_floating_point():
                    raise InputError(
                        f"the column {shown(name)} holds sequences of ids ({_short(values)}); expected measurements, "
                        "whose mean says something: choose another column, or a baseline for this kind of data"
                    )
                values = _sequence_means(values, length)
        return values.float().flatten(1) if values.dim() > 1 else values.float().unsqueeze(1)

    @abstractmethod
    def _fit(self, features: Array, classes: Array, seed: int) -> None:
        """Set the buffers from features (N, F) and classes (N,), numbered from 0 to C - 1 without gaps."""

    @abstractmethod
    def log_probabilities(self, features: Tensor) -> Tensor:
        """Map features (B, F) to log-probabilities (B, C)."""


def log(probabilities: Tensor) -> Tensor:
    """Return the logarithms, of nothing less than `LEAST`."""
    return probabilities.clamp_min(LEAST).log()


def tensor(array: Array, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return an array of scikit-learn as a tensor of its own."""
    return torch.from_numpy(np.array(array, order="C")).to(dtype)


def _sequence_means(values: Tensor, lengths: Tensor) -> Tensor:
    """Return the means (B, …) of sequences (B, T, …) of these lengths (B,)."""
    inside = torch.arange(values.size(1), device=values.device) < lengths.to(values.device).unsqueeze(1)
    inside = inside.view(*inside.shape, *[1] * (values.dim() - 2))
    totals = values.masked_fill(~inside, 0).sum(1)
    return totals / inside.sum(1).clamp_min(1)


def _short(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")
