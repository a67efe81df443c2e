"""How much better an action was than what was expected.

Source: Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation",
https://arxiv.org/abs/1506.02438, equation 16.
Departs from it: where an episode was cut off, the value of what it closed with stands for the rest.
Axes: T timesteps, N players.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlpipe_rl.rollout import Rollout


def advantages(rollout: Rollout, gamma: float, gae_lambda: float) -> Tensor:
    """Return (T, N) advantages.

    Args:
        gamma: what a reward is worth a timestep later.
        gae_lambda: λ: 1 trusts the rewards that followed, 0 the value after one timestep.
    """
    surprises = rollout.rewards + gamma * rollout.values_after - rollout.values
    goes_on = gamma * gae_lambda * (~rollout.ended).float()
    found = torch.empty_like(surprises)
    following = torch.zeros_like(surprises[0])
    for timestep in reversed(range(len(surprises))):
        following = found[timestep] = surprises[timestep] + goes_on[timestep] * following
    return found
