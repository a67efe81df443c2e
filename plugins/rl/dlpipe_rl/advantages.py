"""Generalized advantage estimation (GAE).

Source: Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation",
https://arxiv.org/abs/1506.02438, equation 16.
Departs from it: bootstraps from the final observation of a truncated episode.
Axes: T timesteps, N environments.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlpipe_rl.rollout import Rollout


def advantages(rollout: Rollout, gamma: float, gae_lambda: float) -> Tensor:
    """Return (T, N) advantages.

    Args:
        gamma: discount factor γ.
        gae_lambda: λ: 1 gives Monte Carlo returns minus values, 0 gives one-step TD errors.
    """
    td_errors = rollout.rewards + gamma * rollout.next_values - rollout.values
    decay = gamma * gae_lambda * (~rollout.dones).float()
    result = torch.empty_like(td_errors)
    following = torch.zeros_like(td_errors[0])
    for timestep in reversed(range(len(td_errors))):
        following = result[timestep] = td_errors[timestep] + decay[timestep] * following
    return result
