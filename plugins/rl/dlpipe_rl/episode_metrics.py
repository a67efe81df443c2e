"""The metrics of the episodes that ended in a training step."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from dlpipe_rl.checked_env import Episode

#: The means of a step count as many times as episodes ended in it.
WEIGHTS = {"return": "episodes", "length": "episodes"}


def episode_means(episodes: Collection[Episode]) -> dict[str, Tensor]:
    """Return the mean ``return`` and ``length`` of `episodes` and their number, or an empty dict if there are none."""
    if not episodes:
        return {}
    total, length = sum(episode.total for episode in episodes), sum(episode.length for episode in episodes)
    means = {"return": total / len(episodes), "length": length / len(episodes), "episodes": len(episodes)}
    return {name: torch.tensor(mean, dtype=torch.float64) for name, mean in means.items()}
