"""Observations scaled by what was observed so far, as part of a model, so that its checkpoints have the scale.

Sources: Andrychowicz et al. 2021, "What Matters for On-Policy Deep Actor-Critic Methods? A Large-Scale Study",
https://arxiv.org/abs/2006.05990, section 3.4, which finds it important for continuous control; the statistics of
several batches are combined as in Chan, Golub & LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115.
Axes: B observations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe_rl.encoder import to_float

#: Scaled observations are limited to this size.
LIMIT = 10.0


class RunningNormalization(nn.Module):
    """Scale observations to mean 0 and standard deviation 1 over all that `update` was given, and limit them to ±10.

    Trainers call `update`: the scale must not change between the choice of an action and the update that it leads to.
    Before the first one, observations are only limited.

    Args:
        shape: of one observation.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(*shape))
        self.register_buffer("variance", torch.ones(*shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, obs: Tensor) -> Tensor:
        """Map observations (B, …) to scaled ones."""
        return ((obs - self.mean) / (self.variance + 1e-8).sqrt()).clamp(-LIMIT, LIMIT)

    @torch.no_grad()
    def update(self, obs: Tensor) -> None:
        """Take observations (B, …) into account, unless it is in evaluation mode, as what is frozen is."""
        if not self.training:
            return
        obs = to_float(obs)
        self.count += len(obs)
        share = (len(obs) / self.count).to(obs.dtype)
        difference = obs.mean(0) - self.mean
        between = share * (1 - share) * difference.square()
        self.variance.lerp_(obs.var(0, correction=0), share).add_(between)
        self.mean.add_(share * difference)


def normalization(obs_shape: Sequence[int], normalize_obs: bool) -> nn.Module:
    """Return what scales observations: by running statistics, or not at all.

    Raises:
        InputError: observations that are to be scaled are images.
    """
    if not normalize_obs:
        return nn.Identity()
    if len(obs_shape) == 3:
        raise InputError(
            f"normalize_obs = true: the observations are images (shape {tuple(obs_shape)}), whose bytes are scaled to "
            "0 … 1 in any case; remove it"
        )
    return RunningNormalization(obs_shape)


def normalizations(model: nn.Module) -> Iterable[RunningNormalization]:
    """Return what a trainer has to update."""
    return [module for module in model.modules() if isinstance(module, RunningNormalization)]
