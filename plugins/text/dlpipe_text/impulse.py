"""One sequence, a number followed by zeros: what is left of the number at the end.

Source: H. Lee, "Recurrent Neural Network", lecture slides: the input 1, 0, 0, ... of the network whose output is w^999.
Axes: T positions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dlpipe.data import Columns
from dlpipe.errors import InputError
from dlpipe.fields import Positive


class Impulse:
    """A single sequence, the training split and also the test split: its loss is what training sees.

    Args:
        length: T.
        value: the number at the first position; all others are 0.
        target: what the network should answer at the last position.
    """

    splits = ("train", "test")
    facts: Mapping[str, Any] = {"num_features": 1}

    def __init__(self, *, length: Positive = 1000, value: float = 1.0, target: float = 1.0) -> None:
        self._length, self._value, self._target = length, value, target

    def split(self, name: str) -> Columns:
        """Return ``features`` (1, T, 1) and ``targets`` (1,)."""
        return Columns({"features": self._features(self._value)[None], "targets": torch.tensor([self._target])})

    def copies(self, split: str, other: str) -> tuple[Tensor, Tensor]:
        """Return that nothing is copied by mistake: both splits are the one sequence."""
        none = torch.zeros(1, dtype=torch.bool)
        return none, none

    def encode(self, item: str) -> dict[str, Tensor]:
        """Turn another first number into ``features`` (T, 1).

        Raises:
            InputError: the item is not a number.
        """
        try:
            value = float(item)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f'"{item}": expected a number, the first of the sequence, such as "0.5"')
        return {"features": self._features(value)}

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        """Return the output."""
        return {"output": float(prediction)}

    def state(self) -> dict[str, Any]:
        """Return an empty state: nothing is learned from the sequence."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Do nothing: there is no state."""

    def fingerprint(self) -> str:
        """Return what determines the sequence."""
        return repr((self._length, self._value, self._target))

    def _features(self, value: float) -> Tensor:
        features = torch.zeros(self._length, 1)
        features[0] = value
        return features
