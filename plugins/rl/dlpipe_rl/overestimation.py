"""Whether a model expects more than it gets.

Source: van Hasselt et al. 2016, "Deep Reinforcement Learning with Double Q-learning",
https://arxiv.org/abs/1509.06461, figure 3: estimated values beside the discounted returns that followed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dlpipe_rl.episodes import Array
from dlpipe_rl.greedy import Played

#: Of an episode that was cut off, timesteps count from which this share of the discounted future was seen.
SEEN = 0.95


def discounted_returns(rewards: Array, gamma: float) -> Array:
    """Return (T,) the discounted sum of the rewards (T,) from each timestep on."""
    returns = np.zeros(len(rewards))
    following = 0.0
    for timestep in reversed(range(len(rewards))):
        following = returns[timestep] = rewards[timestep] + gamma * following
    return returns


def compared(played: Iterable[Played], gamma: float) -> tuple[Array, Array]:
    """Return what was expected and what followed, at all timesteps of which the latter is known."""
    expected, followed = [np.zeros(0)], [np.zeros(0)]
    for episode in played:
        if not episode.values:
            continue
        length = len(episode.rewards)
        if not episode.episode.terminated and gamma > 0:
            unseen = np.log(1 - SEEN) / np.log(gamma) if gamma < 1 else length
            length = max(0, length - int(np.ceil(unseen)))
        expected.append(np.array(episode.values[:length]))
        followed.append(discounted_returns(np.array(episode.rewards), gamma)[:length])
    return np.concatenate(expected), np.concatenate(followed)
