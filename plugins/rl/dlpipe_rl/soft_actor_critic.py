"""A policy for continuous actions and the values of observations with actions.

Sources: Haarnoja et al. 2018, "Soft Actor-Critic: Off-Policy Maximum Entropy Deep Reinforcement Learning with a
Stochastic Actor", https://arxiv.org/abs/1801.01290; two critics: Fujimoto et al. 2018, "Addressing Function
Approximation Error in Actor-Critic Methods", https://arxiv.org/abs/1802.09477.
Departs from them: images get the convolutions of `dlpipe_rl.encoder`, each network its own.
Axes: B observations, K components of an action, F features, Q critics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.fields import Positive
from dlpipe_rl.action_heads import SquashedGaussian
from dlpipe_rl.checked_env import Array
from dlpipe_rl.encoder import encoder, to_float
from dlpipe_rl.layer_stack import LayerStack
from dlpipe_rl.running_normalization import normalization

Values = TypeVar("Values", Tensor, Array)


class SoftActorCritic(nn.Module):
    """A policy whose actions are bounded, and the values of actions.

    Args:
        obs_shape: of one observation; three axes are an image, channels first.
        action_shape: of a continuous action.
        action_bounds: the least and the largest value of each of its K components.
        hidden: units of the fully connected layers of each network.
        normalize_obs: scale observations to mean 0 and standard deviation 1 over those of the training so far.
        num_critics: Q; the smallest of their values counts, against overestimation.

    Attributes:
        normalize: scales observations for the other two.
        policy: maps observations (B, *obs_shape) to means and log standard deviations (B, 2, K).
        head: the distribution of actions in (-1, 1) that these describe.
        critics: maps observations and actions (B, K) in (-1, 1) to values (Q, B).

    Raises:
        InputError: actions are discrete or have no bounds.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        obs_shape: Sequence[int],
        action_shape: Sequence[int],
        action_bounds: Sequence[tuple[float, float]],
        *,
        hidden: Sequence[Positive] = (256, 256),
        normalize_obs: bool = False,
        num_critics: Positive = 2,
    ) -> None:
        super().__init__()
        _check_actions(action_shape, action_bounds)
        self.action_shape = tuple(action_shape)
        components = math.prod(self.action_shape)
        self.normalize = normalization(obs_shape, normalize_obs)
        self.policy = Policy(obs_shape, components, hidden)
        self.critics = Critics(obs_shape, components, hidden, num_critics)
        for name, bounds in zip(("low", "high"), zip(*action_bounds, strict=True), strict=True):
            self.register_buffer(name, torch.tensor(bounds), persistent=False)

    @property
    def head(self) -> SquashedGaussian:  # noqa: D102
        return self.policy.head

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Map observations to means and log deviations (B, 2, K), and the value of the action of the mean (B,)."""
        obs = self.normalize(to_float(obs))
        params = self.policy(obs)
        return params, self.critics(obs, self.head.mode(params)).amin(0)

    def predict(self, outputs: tuple[Tensor, Tensor]) -> Tensor:
        """Return the actions of the means, (B, *action_shape), in the units of the environment."""
        return self.in_environment(self.head.mode(outputs[0].float()))

    def value(self, outputs: tuple[Tensor, Tensor]) -> Tensor:
        """Return the values (B,)."""
        return outputs[1]

    def in_environment(self, actions: Tensor) -> Tensor:
        """Map actions (B, K) from -1 to 1 to those of the environment, (B, *action_shape)."""
        return to_bounds(actions, self.low, self.high).view(-1, *self.action_shape)


class Policy(nn.Module):
    """A distribution of actions for each observation."""

    def __init__(self, obs_shape: Sequence[int], num_components: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers, width = encoder(obs_shape, hidden)
        self.encode, self.head = LayerStack(*layers), SquashedGaussian(width, num_components)

    def forward(self, obs: Tensor) -> Tensor:
        """Map observations (B, *obs_shape) to means and log standard deviations (B, 2, K)."""
        return self.head(self.encode(obs))  # type: ignore[no-any-return]


class Critics(nn.Module):
    """Several estimates of the value of an action, which differ by their initial weights."""

    def __init__(self, obs_shape: Sequence[int], num_components: int, hidden: Sequence[int], count: int) -> None:
        super().__init__()
        self.encoders, self.values = nn.ModuleList(), nn.ModuleList()
        for _ in range(count):
            encode, width = encoder(obs_shape, ())
            layers, last = encoder((width + num_components,), hidden)
            self.encoders.append(encode)
            self.values.append(LayerStack(*layers, nn.Linear(last, 1)))

    def forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Map observations (B, *obs_shape) and actions (B, K) to values (Q, B)."""
        pairs = zip(self.encoders, self.values, strict=True)
        return torch.stack([value(torch.cat([encode(obs), actions], 1))[:, 0] for encode, value in pairs])


def to_bounds(actions: Values, low: Values, high: Values) -> Values:
    """Map actions (B, K) from -1 to 1 to those between their bounds (K,)."""
    return low + (actions + 1) * ((high - low) / 2)


def _check_actions(action_shape: Sequence[int], action_bounds: Sequence[tuple[float, float]]) -> None:
    if not action_shape:
        raise InputError(
            "rl.soft_actor_critic is for continuous actions, and this environment has discrete ones; take an "
            "environment with a Box of actions, or the model rl.q_network with the trainer rl.dqn"
        )
    if not action_bounds:
        raise InputError(
            "rl.soft_actor_critic maps its actions to the bounds of the environment, and these actions have none; "
            'remove the wrapper "clip_action" if there is one, or take the model rl.actor_critic with the trainer '
            "rl.ppo"
        )
