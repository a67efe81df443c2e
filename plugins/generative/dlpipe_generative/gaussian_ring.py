"""A 2D mixture of Gaussians on a circle: the smallest data set that shows mode collapse.

Source: Metz et al. 2017, "Unrolled Generative Adversarial Networks", https://arxiv.org/abs/1611.02163, appendix A (8
modes on a circle of radius 2, standard deviation 0.02).
Axes: N points, M modes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dlpipe.compute import derived_seed
from dlpipe.data import Columns
from dlpipe.errors import InputError
from dlpipe.fields import Positive, PositiveFloat


class GaussianRing:
    """Points from a mixture of Gaussians whose centers lie evenly spaced on a circle.

    Args:
        modes: number of modes.
        radius: of the circle.
        deviation: standard deviation around a mode, in each direction.
        count: number of training points; dev and test have a tenth of that each.
        seed: of the points.
    """

    splits = ("train", "dev", "test")
    text_items = True

    def __init__(
        self,
        *,
        modes: Positive = 8,
        radius: PositiveFloat = 2.0,
        deviation: PositiveFloat = 0.02,
        count: Positive = 50_000,
        seed: int = 0,
    ) -> None:
        self._modes, self._radius, self._deviation = modes, radius, deviation
        self._count, self._seed = count, seed

    @property
    def facts(self) -> dict[str, Any]:
        """``point_dim``, the coordinates ``mode_centers``, and the standard deviation ``mode_deviation``."""
        centers = [[float(number) for number in center] for center in self._centers()]
        return {"point_dim": 2, "mode_centers": centers, "mode_deviation": self._deviation}

    def split(self, name: str) -> Columns:
        """Return ``points`` (N, 2), equally many for each mode (up to one)."""
        count = self._count if name == "train" else max(1, self._count // 10)
        generator = torch.Generator().manual_seed(derived_seed(self._seed, name))
        noise = torch.randn(count, 2, generator=generator) * self._deviation
        return Columns({"points": self._centers()[torch.arange(count) % self._modes] + noise})

    def encode(self, item: str) -> dict[str, Tensor]:
        """Parse a point such as ``"0.5 2"``.

        Raises:
            InputError: the item is not two numbers.
        """
        try:
            first, second = map(float, item.replace(",", " ").split())
        except ValueError as error:
            raise InputError(f'"{item}": expected a point, two numbers such as "0.5 2"') from error
        return {"points": torch.tensor([first, second])}

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        """Return the score of a point."""
        return {"score": round(float(prediction), 4)}

    def state(self) -> dict[str, Any]:
        """Return an empty state: nothing is fitted to the points."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Do nothing: there is no state."""

    def fingerprint(self) -> str:
        """Return a digest of everything that determines the points."""
        what = (self._modes, self._radius, self._deviation, self._count, self._seed)
        return hashlib.sha256(repr(what).encode()).hexdigest()[:16]

    def _centers(self) -> Tensor:
        angles = torch.arange(self._modes) * (2 * math.pi / self._modes)
        return self._radius * torch.stack([angles.cos(), angles.sin()], dim=1)
