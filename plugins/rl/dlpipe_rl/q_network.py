"""Action values: the expected discounted return of each action.

Sources: Mnih et al. 2015, "Human-level control through deep reinforcement learning",
https://doi.org/10.1038/nature14236; dueling heads: Wang et al. 2016, "Dueling Network Architectures for Deep
Reinforcement Learning", https://arxiv.org/abs/1511.06581, equation 9.
Departs from them: fully connected layers for vector observations; the two heads of a dueling network share all
hidden layers.
Axes: B observations, A actions, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.fields import Positive
from dlpipe_rl.encoder import encoder, to_float
from dlpipe_rl.layer_stack import LayerStack
from dlpipe_rl.noisy import NoisyLinear


class QNetwork(nn.Module):
    """The values of A actions.

    Args:
        obs_shape: of one observation; three axes are an image, channels first.
        num_actions: A.
        hidden: units of the fully connected layers, which follow the convolutions for an image.
        dueling: use separate heads for the state value and for the advantages of the actions.
        noisy: use fully connected layers with learned noise, which explore without ε (NoisyNet).
    """

    def __init__(
        self,
        obs_shape: Sequence[int],
        num_actions: int,
        *,
        hidden: Sequence[Positive] = (128, 128),
        dueling: bool = False,
        noisy: bool = False,
    ) -> None:
        super().__init__()
        if not num_actions:
            raise InputError(
                f"num_actions = {num_actions}: rl.q_network has one output per action, and this environment has "
                "continuous actions; take an environment with discrete actions, or the model rl.soft_actor_critic with "
                "the trainer rl.sac"
            )
        linear = NoisyLinear if noisy else nn.Linear
        features, width = encoder(obs_shape, hidden, linear=linear)
        head = DuelingHead(linear(width, 1), linear(width, num_actions)) if dueling else linear(width, num_actions)
        self.layers = LayerStack(*features, head)

    def forward(self, obs: Tensor) -> Tensor:
        """Map observations (B, *obs_shape) to action values (B, A)."""
        return self.layers(obs if obs.dtype is torch.float32 else to_float(obs))  # type: ignore[no-any-return]

    def value(self, outputs: Tensor) -> Tensor:
        """Map action values (B, A) to the value of the best action (B,)."""
        return outputs.amax(1)


class DuelingHead(nn.Module):
    """A state value plus the advantage of each action."""

    def __init__(self, state_value: nn.Module, advantages: nn.Module) -> None:
        super().__init__()
        self.state_value, self.advantages = state_value, advantages

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, F) to action values (B, A)."""
        advantages = self.advantages(features)
        # Subtracting the mean makes the two heads identifiable: no constant can move between them.
        return self.state_value(features) + advantages - advantages.mean(1, keepdim=True)  # type: ignore[no-any-return]
