"""What a step tells of the episodes that ended in it."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from dlpipe_rl.episodes import Episode


def told(episodes: Collection[Episode]) -> dict[str, Tensor]:
    """Return the means of their returns and lengths; nothing where none ended."""
    if not episodes:
        return {}
    numbers = torch.tensor([(episode.total, episode.length) for episode in episodes], dtype=torch.float64).mean(0)
    return {"return": numbers[0], "length": numbers[1]}
