"""A policy: how probable each action is.

Source: Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
Learning", https://doi.org/10.1007/BF00992696.
Departs from it: more than one layer, tanh units, orthogonal first weights.
Axes: B observations, A actions, F features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from dlpipe.fields import Positive
from dlpipe_rl.action_heads import action_head
from dlpipe_rl.encoder import as_numbers, encoder


class PolicyNetwork(nn.Module):
    """Probabilities of actions, without an idea of what they are worth.

    Args:
        obs_shape: of one observation; three axes are an image, channels first.
        num_actions: A; 0 where actions are numbers.
        action_shape: of a continuous action.
        hidden: units of the fully connected layers.
    """

    def __init__(
        self,
        obs_shape: Sequence[int],
        num_actions: int,
        action_shape: Sequence[int],
        *,
        hidden: Sequence[Positive] = (64, 64),
    ) -> None:
        super().__init__()
        self.encode, width = encoder(obs_shape, hidden, linear=orthogonal, activation=nn.Tanh)
        self.head = action_head(width, num_actions, action_shape)

    def forward(self, obs: Tensor) -> Tensor:
        """Map observations (B, *obs_shape) to logits (B, A), or to means and spreads (B, 2, K) of numbers."""
        return self.head(self.encode(as_numbers(obs)))  # type: ignore[no-any-return]

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the most probable actions."""
        return self.head.best(outputs)


def orthogonal(inputs: int, outputs: int) -> nn.Linear:
    """Return a layer with orthogonal first weights, which keep the size of what goes through tanh units."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, math.sqrt(2))
    nn.init.zeros_(layer.bias)
    return layer
