"""The last layer of a discriminator, conditioned on classes by projection.

Source: Miyato & Koyama 2018, "cGANs with Projection Discriminator", https://arxiv.org/abs/1802.05637, eq. 3.
Axes: B samples, F features, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn


class Projection(nn.Module):
    """Score features with a linear layer; if conditional, add their inner product with an embedding of the class.

    Args:
        features: F.
        num_classes: K; None if unconditional.
    """

    def __init__(self, features: int, num_classes: int | None) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        # Starts at 0, so that all classes get the same scores at first.
        self.classes = None if num_classes is None else nn.Embedding(num_classes, features)
        if self.classes is not None:
            nn.init.zeros_(self.classes.weight)

    def forward(self, features: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map features (B, F), and classes (B,) if conditional, to scores (B,).

        Raises:
            ValueError: the discriminator is conditional, and there are no targets.
        """
        scores: Tensor = self.linear(features)[:, 0]
        if self.classes is None:
            return scores
        if targets is None:
            raise ValueError(f"this discriminator is conditional: expected targets ({len(features)},), got None")
        projection: Tensor = (self.classes(targets) * features).sum(1)
        return scores + projection
