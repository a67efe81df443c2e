"""What all baselines have in common: the features of an example, and their scaling.

Axes: N training examples, B examples of a batch, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.data.columns import is_length
from dlpipe.data.targets import NO_INPUTS
from dlpipe.errors import InputError, UnsuitableDataError
from dlpipe.messages import shown

Array = NDArray[Any]
#: The columns of a table, which belong together.
NUMBERS, CATEGORIES = "numbers", "categories"


class ScaledFeatures(nn.Module):
    """A model that is fitted to numbers of fixed places: those of one column of the data, or of a table.

    Images and vectors are used as they are, one feature per number. Of a sequence of vectors, the features are their
    mean. Those of a table are its numbers, and for each category one that is 1 where the row has it, else 0; an unknown
    category has none.

    Args:
        features: the column; needed if the data has several that could be meant.
        standardize: whether the mean of each feature becomes 0 and its standard deviation 1.
        cardinalities: of the columns of categories of a table, how many ids there are, 0 for an unknown one included.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: str | None, *, standardize: bool, cardinalities: Sequence[int] | None = None) -> None:
        super().__init__()
        self._features, self._standardize, self._cardinalities = features, standardize, cardinalities
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("scale", torch.empty(0))

    def learn_scaling(self, vectors: Tensor) -> Tensor:
        """Learn the scaling of features (N, F), and return them scaled.

        Raises:
            InputError: they are not all numbers.
        """
        if not vectors.isfinite().all():
            raise InputError("there are features that are NaN or infinite; expected numbers")
        self.mean = vectors.mean(0) if self._standardize else vectors.new_zeros(vectors.size(1))
        deviation = vectors.std(0, correction=0) if self._standardize else vectors.new_ones(vectors.size(1))
        self.scale = torch.where(deviation > 0, deviation, 1)
        return (vectors - self.mean) / self.scale

    def scaled(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Return the scaled features (B, F) of a batch."""
        return (self.vectors(columns) - self.mean) / self.scale

    def vectors(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Return the features (B, F) of a batch.

        Raises:
            InputError: there is no such column, or several that could be meant.
            UnsuitableDataError: it holds sequences of ids.
        """
        candidates = [key for key in columns if key not in NO_INPUTS and not is_length(key)]
        if self._features is None and self._cardinalities and CATEGORIES in candidates:
            return self._of_table(columns)
        if self._features is None and len(candidates) != 1:
            if candidates and all(_holds_ids(name, columns) for name in candidates):
                raise _unsuitable(candidates)
            raise InputError(
                f"features is not given, and the data has the columns {', '.join(candidates)}; name one of them"
            )
        name = self._features or candidates[0]
        if name not in candidates:
            raise InputError(f"features = {shown(name)}: the data has the columns {', '.join(candidates)}")
        if _holds_ids(name, columns):
            raise _unsuitable([name])
        values, lengths = columns[name], _lengths_of(name, columns)
        if lengths is not None:
            values = _sequence_means(values, lengths)
        return values.float().flatten(1) if values.dim() > 1 else values.float().unsqueeze(1)

    def _of_table(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Return the numbers and the one-hot categories (B, F) of a table."""
        parts = [columns[NUMBERS].float()] if NUMBERS in columns else []
        for ids, count in zip(columns[CATEGORIES].unbind(1), self._cardinalities or (), strict=True):
            parts.append(F.one_hot(ids, count)[:, 1:].float())
        return torch.cat(parts, dim=1)


def tensor(array: Array, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return an array of scikit-learn as a tensor of its own."""
    return torch.from_numpy(np.array(array, order="C")).to(dtype)


def short_type(values: Tensor) -> str:
    """Return the type of numbers for a message."""
    return str(values.dtype).removeprefix("torch.")


def _lengths_of(name: str, columns: Mapping[str, Tensor]) -> Tensor | None:
    """Return the lengths (B,) of the sequences (B, T, …) of a column, None if it holds none."""
    values, lengths = columns[name], columns.get(f"{name}_lengths", columns.get("lengths"))
    is_padded = lengths is not None and values.dim() > 1 and values.size(1) == int(lengths.max())
    return lengths if is_padded else None


def _holds_ids(name: str, columns: Mapping[str, Tensor]) -> bool:
    return _lengths_of(name, columns) is not None and not columns[name].is_floating_point()


def _unsuitable(names: Sequence[str]) -> UnsuitableDataError:
    """Return the error about columns of ids."""
    hold = f"columns {', '.join(map(shown, names))} hold" if len(names) > 1 else f"column {shown(names[0])} holds"
    return UnsuitableDataError(
        f"the {hold} sequences of ids; expected measurements, whose mean says something: choose another column, or a "
        "baseline for this kind of data"
    )


def _sequence_means(values: Tensor, lengths: Tensor) -> Tensor:
    """Return the means (B, …) of sequences (B, T, …) of these lengths (B,)."""
    inside = torch.arange(values.size(1), device=values.device) < lengths.to(values.device).unsqueeze(1)
    inside = inside.view(*inside.shape, *[1] * (values.dim() - 2))
    totals = values.masked_fill(~inside, 0).sum(1)
    return totals / inside.sum(1).clamp_min(1)
