"""Action values: how much reward is to be expected after each action.

Sources: Mnih et al. 2015, "Human-level control through deep reinforcement learning",
https://doi.org/10.1038/nature14236; dueling heads: Wang et al. 2016, "Dueling Network Architectures for Deep
Reinforcement Learning", https://arxiv.org/abs/1511.06581, equation 9.
Departs from them: fully connected layers for observations that are no images; a dueling net's two heads share
all hidden layers.
Axes: B observations, A actions, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.fields import Positive
from dlpipe_rl.encoder import as_numbers, encoder
from dlpipe_rl.noisy import NoisyLinear


class QNetwork(nn.Module):
    """The value of each of A actions.

    Args:
        obs_shape: of one observation; three axes are an image, channels first.
        num_actions: A.
        hidden: units of the fully connected layers (behind the convolutions, for an image).
        dueling: the value of the state and the advantages of the actions have heads of their own.
        noisy: fully connected layers with learned noise, which explore without ε (NoisyNet).
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
                "[model] rl.q_network has one output per action, and this environment has continuous actions; take an "
                "environment with discrete actions, or rl.actor_critic with the trainer rl.ppo"
            )
        linear = NoisyLinear if noisy else nn.Linear
        features, width = encoder(obs_shape, hidden, linear=linear)
        head = DuelingHead(linear(width, 1), linear(width, num_actions)) if dueling else linear(width, num_actions)
        self.layers = nn.Sequential(*features, head)

    def forward(self, obs: Tensor) -> Tensor:
        """Map observations (B, *obs_shape) to action values (B, A)."""
        values = as_numbers(obs)
        for layer in self.layers:  # by hand: a container that is called takes as long as a small layer
            values = layer(values)
        return values

    def value(self, outputs: Tensor) -> Tensor:
        """Return (B,) what the best action is worth, of outputs (B, A)."""
        return outputs.amax(1)


class DuelingHead(nn.Module):
    """The value of a state, and how much better or worse than that each action is."""

    def __init__(self, state_value: nn.Module, advantages: nn.Module) -> None:
        super().__init__()
        self.state_value, self.advantages = state_value, advantages

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, F) to action values (B, A)."""
        advantages = self.advantages(features)
        # Without the mean, a constant could wander between the two.
        return self.state_value(features) + advantages - advantages.mean(1, keepdim=True)  # type: ignore[no-any-return]
