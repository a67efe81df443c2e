"""The last layer of a discriminator, which knows of classes by projection.

Source: Miyato & Koyama 2018, "cGANs with Projection Discriminator", https://arxiv.org/abs/1802.05637, eq. 3.
Axes: B things, F features, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn


class Projection(nn.Module):
    """Score features by a linear layer; where there are classes, add their likeness to what the class should have.

    Args:
        features: F.
        num_classes: K; None where there are none.
    """

    def __init__(self, features: int, num_classes: int | None) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        # Begins at 0: what a class should have is learned, not drawn.
        self.classes = None if num_classes is None else nn.Embedding(num_classes, features)
        if self.classes is not None:
            nn.init.zeros_(self.classes.weight)

    def forward(self, features: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map features (B, F) of things that should be of classes (B,) to scores (B,).

        Raises:
            ValueError: classes are needed and not told.
        """
        scores: Tensor = self.linear(features)[:, 0]
        if self.classes is None:
            return scores
        if targets is None:
            raise ValueError(f"scores depend on the class: expected targets ({len(features)},), got none")
        likeness: Tensor = (self.classes(targets) * features).sum(1)
        return scores + likeness
