"""Principal component analysis: the best that a linear code can do.

Axes: N images, D pixels of an image, Z components.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Components:
    """Mean (D,) and orthonormal directions (D, Z) of the largest variance, float64."""

    mean: Tensor
    directions: Tensor

    @classmethod
    def of(cls, images: Tensor, count: int) -> Components:
        """Return those of images (N, …), `count` at the most."""
        rows = images.flatten(1).double()
        mean = rows.mean(0)
        centred = rows - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
        return cls(mean, vectors[:, -count:])

    def codes(self, images: Tensor) -> Tensor:
        """Return codes (N, Z) of images (N, …)."""
        return (images.flatten(1).double() - self.mean) @ self.directions

    def again(self, images: Tensor) -> Tensor:
        """Return what is left of images (N, …) after going through their codes."""
        return (self.codes(images) @ self.directions.T + self.mean).view_as(images)
