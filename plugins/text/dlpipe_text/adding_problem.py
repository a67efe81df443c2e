"""The adding problem: sum two numbers of a long sequence, the two that are marked.

Source: Hochreiter & Schmidhuber 1997, "Long Short-Term Memory", section 5.4, in the version of Le, Jaitly & Hinton
2015, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", https://arxiv.org/abs/1504.00941
Departs from the first: numbers from 0 to 1 instead of -1 to 1, the sum itself as the target, and one length.
Axes: N sequences, T positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, Strict
from torch import Tensor

from dlpipe.compute import derived_seed
from dlpipe.data import Columns, Ragged
from dlpipe.errors import InputError
from dlpipe.fields import Positive

#: Follows a marked number in an item.
MARK = "*"


class AddingProblem:
    """Sequences of numbers from 0 to 1; the target is the sum of two, one marked in each half.

    Whoever always answers 1 has a mean squared error of 1/6 = 0.167, the variance of the sum; nothing better is
    possible without both numbers, the first of which is up to T positions away from the end.

    Args:
        length: T.
        num_train: number of training sequences.
        num_dev: number of development sequences.
        num_test: number of test sequences.
        seed: of the sequences.
    """

    splits = ("train", "dev", "test")
    facts: Mapping[str, Any] = {"num_features": 2}
    paddings: Mapping[str, float] = {"features": 0.0}

    def __init__(
        self,
        *,
        length: Annotated[int, Strict(), Field(ge=2)] = 200,
        num_train: Positive = 20_000,
        num_dev: Positive = 1_000,
        num_test: Positive = 2_000,
        seed: int = 0,
    ) -> None:
        self._length, self._seed = length, seed
        self._sizes = {"train": num_train, "dev": num_dev, "test": num_test}

    def split(self, name: str) -> Columns:
        """Return ``features`` (N, T, 2), numbers and marks (0 or 1), and ``targets`` (N,)."""
        count, half = self._sizes[name], self._length // 2
        generator = torch.Generator().manual_seed(derived_seed(self._seed, name))
        numbers = torch.rand(count, self._length, generator=generator)
        first = torch.randint(half, (count,), generator=generator)
        second = torch.randint(half, self._length, (count,), generator=generator)
        marks = torch.zeros_like(numbers)
        for places in (first, second):
            marks[torch.arange(count), places] = 1.0
        features = torch.stack([numbers, marks], dim=2).flatten(0, 1)
        lengths = torch.full((count,), self._length)
        return Columns({"features": Ragged(features, lengths, padding=0.0), "targets": (numbers * marks).sum(1)})

    def encode(self, item: str) -> dict[str, Tensor]:
        """Turn ``"0.5* 0.1 0.25*"``, two numbers of any sequence marked, into ``features`` (T, 2).

        Raises:
            InputError: the item is something else.
        """
        return {"features": torch.tensor([*_parsed(item)])}

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        """Return the sum and its prediction."""
        total = sum(number for number, mark in _parsed(item) if mark)
        return {"sum": round(total, 4), "predicted": round(float(prediction), 4)}

    def state(self) -> dict[str, Any]:
        """Return an empty state: nothing is learned from the sequences."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Do nothing: there is no state."""

    def fingerprint(self) -> str:
        """Return what determines the sequences."""
        return repr((self._length, self._sizes, self._seed))


def _parsed(item: str) -> list[tuple[float, float]]:
    """Return the numbers of an item, each with its mark (0 or 1)."""
    words = item.split()
    try:
        parsed = [(float(word.removesuffix(MARK)), float(word.endswith(MARK))) for word in words]
    except ValueError:
        parsed = []
    if sum(mark for _, mark in parsed) != 2 or not all(0 <= number <= 1 for number, _ in parsed):
        shown = item if len(item) <= 60 else item[:57] + "..."
        raise InputError(f'"{shown}": expected numbers from 0 to 1, two of them marked, such as "0.5* 0.1 0.25*"')
    return parsed
