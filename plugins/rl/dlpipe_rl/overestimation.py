"""Whether a model overestimates the return.

Source: van Hasselt et al. 2016, "Deep Reinforcement Learning with Double Q-learning",
https://arxiv.org/abs/1509.06461, figure 3: estimated values against actual discounted returns.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dlpipe_rl.checked_env import Array
from dlpipe_rl.greedy import EpisodeTrace

#: Of a truncated episode, only timesteps count after which at least this share of the discounted future was observed.
COVERED = 0.95


def discounted_returns(rewards: Array, gamma: float) -> Array:
    """Return the discounted sum of the rewards (T,) from each timestep on, (T,)."""
    returns = np.zeros(len(rewards))
    following = 0.0
    for timestep in reversed(range(len(rewards))):
        following = returns[timestep] = rewards[timestep] + gamma * following
    return returns


def value_return_pairs(traces: Iterable[EpisodeTrace], gamma: float) -> tuple[Array, Array]:
    """Return estimated values and actual discounted returns of all timesteps whose return is known."""
    values, returns = [np.zeros(0)], [np.zeros(0)]
    for trace in traces:
        if not trace.values:
            continue
        length = len(trace.rewards)
        if not trace.episode.terminated and gamma > 0:
            needed = np.ceil(np.log(1 - COVERED) / np.log(gamma)) if gamma < 1 else np.inf  # observed rewards
            length = int(max(0, length + 1 - needed))
        values.append(np.array(trace.values[:length]))
        returns.append(discounted_returns(np.array(trace.rewards), gamma)[:length])
    return np.concatenate(values), np.concatenate(returns)
