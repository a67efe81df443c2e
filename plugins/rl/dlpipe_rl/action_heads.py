"""From features to a distribution over actions: of a few choices, or of numbers.

Axes: B observations, F features, A actions to choose from, K numbers of a continuous action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn


class ActionHead(Protocol):
    """What a policy's last layer can do; `choice` is what its forward pass gave."""

    def sample(self, choice: Tensor, generator: torch.Generator) -> Tensor:
        """Draw actions: (B,) numbers of discrete ones, or (B, …) continuous ones."""

    def log_prob(self, choice: Tensor, actions: Tensor) -> Tensor:
        """Return (B,) the log probability (density) of actions."""

    def entropy(self, choice: Tensor) -> Tensor:
        """Return (B,) how undecided the policy is, in nats."""

    def best(self, choice: Tensor) -> Tensor:
        """Return the most probable actions."""


class Categorical(nn.Module):
    """One of A actions; `choice` (B, A) are logits."""

    def __init__(self, width: int, num_actions: int) -> None:
        super().__init__()
        self.logits = small(nn.Linear(width, num_actions))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, F) to logits (B, A)."""
        return self.logits(features)  # type: ignore[no-any-return]

    def sample(self, choice: Tensor, generator: torch.Generator) -> Tensor:
        """See `ActionHead.sample`."""
        return choice.softmax(-1).multinomial(1, generator=generator).squeeze(1)

    def log_prob(self, choice: Tensor, actions: Tensor) -> Tensor:
        """See `ActionHead.log_prob`."""
        return choice.log_softmax(-1).gather(1, actions.unsqueeze(1)).squeeze(1)

    def entropy(self, choice: Tensor) -> Tensor:
        """See `ActionHead.entropy`."""
        logarithms = choice.log_softmax(-1)
        return -(logarithms.exp() * logarithms).sum(-1)

    def best(self, choice: Tensor) -> Tensor:
        """See `ActionHead.best`."""
        return choice.argmax(-1)


class Gaussian(nn.Module):
    """Independent normal numbers whose spread is learned, but the same everywhere.

    `choice` (B, 2, K) are means and logarithms of the standard deviations.
    """

    def __init__(self, width: int, action_shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(action_shape)
        self.mean = small(nn.Linear(width, math.prod(self.shape)))
        self.log_std = nn.Parameter(torch.zeros(math.prod(self.shape)))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, F) to means and logarithms of standard deviations (B, 2, K)."""
        mean = self.mean(features)
        return torch.stack([mean, self.log_std.expand_as(mean)], dim=1)

    def sample(self, choice: Tensor, generator: torch.Generator) -> Tensor:
        """See `ActionHead.sample`."""
        mean, log_std = choice.unbind(1)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return (mean + log_std.exp() * noise).view(-1, *self.shape)

    def log_prob(self, choice: Tensor, actions: Tensor) -> Tensor:
        """See `ActionHead.log_prob`."""
        mean, log_std = choice.unbind(1)
        spread = (actions.flatten(1) - mean) / log_std.exp()
        return (-0.5 * spread.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(1)

    def entropy(self, choice: Tensor) -> Tensor:
        """See `ActionHead.entropy`."""
        return (choice[:, 1] + 0.5 * math.log(2 * math.pi * math.e)).sum(1)

    def best(self, choice: Tensor) -> Tensor:
        """See `ActionHead.best`."""
        return choice[:, 0].view(-1, *self.shape)


def action_head(width: int, num_actions: int, action_shape: Sequence[int]) -> Categorical | Gaussian:
    """Return the head for an environment's actions: `num_actions` to choose from, or numbers if that is 0."""
    return Categorical(width, num_actions) if num_actions else Gaussian(width, action_shape)


def small(layer: nn.Linear) -> nn.Linear:
    """Give a policy's last layer weights so small that it prefers nothing at first."""
    nn.init.orthogonal_(layer.weight, 0.01)
    nn.init.zeros_(layer.bias)
    return layer
