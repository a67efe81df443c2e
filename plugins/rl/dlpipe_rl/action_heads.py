"""Action heads: from features to a distribution over discrete or continuous actions.

Axes: B observations, F features, A discrete actions, K components of a continuous action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Least and largest logarithm of the standard deviation of a squashed Gaussian.
LOG_STD = (-20.0, 2.0)


class ActionHead(Protocol):
    """The last layer of a policy; `params` are the distribution parameters that its forward pass returns."""

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Sample actions: (B,) indices of discrete ones, or (B, …) continuous ones."""

    def log_prob(self, params: Tensor, actions: Tensor) -> Tensor:
        """Return the log probability (density) of actions, (B,)."""

    def entropy(self, params: Tensor) -> Tensor:
        """Return the entropy of the distribution in nats, (B,)."""

    def mode(self, params: Tensor) -> Tensor:
        """Return the most probable actions."""


class Categorical(nn.Module):
    """A categorical distribution over A actions; `params` (B, A) are logits."""

    def __init__(self, width: int, num_actions: int) -> None:
        super().__init__()
        self.logits = small(nn.Linear(width, num_actions))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, F) to logits (B, A)."""
        return self.logits(features)  # type: ignore[no-any-return]

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """See `ActionHead.sample`."""
        # As torch.multinomial does it, which checks the probabilities first: on a GPU, the host waits for the result.
        probabilities = params.softmax(-1)
        return (probabilities / torch.empty_like(probabilities).exponential_(generator=generator)).argmax(-1)

    def log_prob(self, params: Tensor, actions: Tensor) -> Tensor:
        """See `ActionHead.log_prob`."""
        return params.log_softmax(-1).gather(1, actions.unsqueeze(1)).squeeze(1)

    def entropy(self, params: Tensor) -> Tensor:
        """See `ActionHead.entropy`."""
        logarithms = params.log_softmax(-1)
        return -(logarithms.exp() * logarithms).sum(-1)

    def mode(self, params: Tensor) -> Tensor:
        """See `ActionHead.mode`."""
        return params.argmax(-1)


class Gaussian(nn.Module):
    """Independent normal distributions with a learned standard deviation that does not depend on the observation.

    `params` (B, 2, K) are means and logarithms of the standard deviations.
    """

    def __init__(self, width: int, action_shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(action_shape)
        self.mean = small(nn.Linear(width, math.prod(self.shape)))
        self.log_std = nn.Parameter(torch.zeros(math.prod(self.shape)))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, F) to means and log standard deviations (B, 2, K)."""
        mean = self.mean(features)
        return torch.stack([mean, self.log_std.expand_as(mean)], dim=1)

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """See `ActionHead.sample`."""
        mean, log_std = params.unbind(1)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return (mean + log_std.exp() * noise).view(-1, *self.shape)

    def log_prob(self, params: Tensor, actions: Tensor) -> Tensor:
        """See `ActionHead.log_prob`."""
        mean, log_std = params.unbind(1)
        spread = (actions.reshape(mean.shape) - mean) / log_std.exp()
        return (-0.5 * spread.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(1)

    def entropy(self, params: Tensor) -> Tensor:
        """See `ActionHead.entropy`."""
        return (params[:, 1] + 0.5 * math.log(2 * math.pi * math.e)).sum(1)

    def mode(self, params: Tensor) -> Tensor:
        """See `ActionHead.mode`."""
        return params[:, 0].view(-1, *self.shape)


class SquashedGaussian(nn.Module):
    """The tanh of independent normal distributions whose mean and deviation depend on the observation.

    Source: Haarnoja et al. 2018, "Soft Actor-Critic", https://arxiv.org/abs/1801.01290, appendix C. The bounds of the
    standard deviation are those of the authors' code.
    `params` (B, 2, K) are means and logarithms of the standard deviations before the tanh; actions (B, K) are in
    (-1, 1).
    """

    def __init__(self, width: int, num_components: int) -> None:
        super().__init__()
        self.params = nn.Linear(width, 2 * num_components)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, F) to means and log standard deviations (B, 2, K)."""
        mean, log_std = self.params(features).chunk(2, 1)
        return torch.stack([mean, log_std.clamp(*LOG_STD)], 1)

    def sample(self, params: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sample actions (B, K) with their log probability densities (B,); gradients pass through both."""
        mean, log_std = params.unbind(1)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        before = mean + log_std.exp() * noise
        density = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh²) without overflow.
        squashing = 2 * (math.log(2) - before - F.softplus(-2 * before))
        return before.tanh(), (density - squashing).sum(1)

    def mode(self, params: Tensor) -> Tensor:
        """Return the actions (B, K) that the means become."""
        return params[:, 0].tanh()


def action_head(width: int, num_actions: int, action_shape: Sequence[int]) -> Categorical | Gaussian:
    """Return the head for an action space: categorical over `num_actions`, or Gaussian if that is 0."""
    return Categorical(width, num_actions) if num_actions else Gaussian(width, action_shape)


def small(layer: nn.Linear) -> nn.Linear:
    """Initialize the last layer of a policy with small weights, so that the first policy is nearly uniform."""
    nn.init.orthogonal_(layer.weight, 0.01)
    nn.init.zeros_(layer.bias)
    return layer
