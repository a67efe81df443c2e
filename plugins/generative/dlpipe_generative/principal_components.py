"""Principal component analysis, the best linear auto-encoder.

Axes: N images, D pixels of an image, Z components.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PrincipalComponents:
    """Mean (D,) and orthonormal directions (D, Z) of largest variance, float64."""

    mean: Tensor
    directions: Tensor

    @classmethod
    def fit(cls, images: Tensor, count: int) -> PrincipalComponents:
        """Return at most `count` components of images (N, …)."""
        rows = images.flatten(1).double()
        mean = rows.mean(0)
        centered = rows - mean
        _, vectors = torch.linalg.eigh(centered.T @ centered)  # ascending
        return cls(mean, vectors[:, -count:])

    def transform(self, images: Tensor) -> Tensor:
        """Return codes (N, Z) of images (N, …)."""
        return (images.flatten(1).double() - self.mean) @ self.directions

    def reconstruct(self, images: Tensor) -> Tensor:
        """Return the reconstructions of images (N, …) from their codes."""
        return (self.transform(images) @ self.directions.T + self.mean).view_as(images)
