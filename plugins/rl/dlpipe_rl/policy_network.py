"""A policy: a distribution over actions.

Source: Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
Learning", https://doi.org/10.1007/BF00992696.
Departs from it: more than one layer, tanh units, orthogonal initialization of fully connected layers.
Axes: B observations, A actions, F features, K components of a continuous action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from dlpipe.fields import Positive
from dlpipe_rl.action_heads import action_head
from dlpipe_rl.encoder import encoder, to_float
from dlpipe_rl.running_normalization import normalization


class PolicyNetwork(nn.Module):
    """A distribution over actions, without a value function.

    Args:
        obs_shape: of one observation; three axes are an image, channels first.
        num_actions: A; 0 if actions are continuous.
        action_shape: of a continuous action.
        hidden: units of the fully connected layers.
        normalize_obs: scale observations to mean 0 and standard deviation 1 over those of the training so far.
    """

    def __init__(
        self,
        obs_shape: Sequence[int],
        num_actions: int,
        action_shape: Sequence[int],
        *,
        hidden: Sequence[Positive] = (64, 64),
        normalize_obs: bool = False,
    ) -> None:
        super().__init__()
        self.normalize = normalization(obs_shape, normalize_obs)
        self.encode, width = encoder(obs_shape, hidden, linear=orthogonal, activation=nn.Tanh)
        self.head = action_head(width, num_actions, action_shape)

    def forward(self, obs: Tensor) -> Tensor:
        """Map observations (B, *obs_shape) to logits (B, A), or to means and log deviations (B, 2, K)."""
        return self.head(self.encode(self.normalize(to_float(obs))))  # type: ignore[no-any-return]

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the most probable actions."""
        return self.head.mode(outputs)


def orthogonal(inputs: int, outputs: int) -> nn.Linear:
    """Return a layer with orthogonal weights of gain √2, which preserve the scale of activations."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, math.sqrt(2))
    nn.init.zeros_(layer.bias)
    return layer
