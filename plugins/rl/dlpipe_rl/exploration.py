"""The exploration rate ε over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EpsilonSchedule:
    """The probability ε of a random action, by timestep.

    Args:
        start: at the first timestep.
        end: from `timesteps` on.
        timesteps: over which ε decays.
        schedule: "linear" or "exponential", both from `start` to `end`; "constant" is `end` throughout.
    """

    start: float
    end: float
    timesteps: int
    schedule: Literal["linear", "exponential", "constant"]

    def at(self, timestep: int) -> float:
        """Return ε at a timestep, counted from 0."""
        if self.schedule == "constant" or timestep >= self.timesteps:
            return self.end
        progress = timestep / self.timesteps
        if self.schedule == "linear":
            return self.start + (self.end - self.start) * progress
        # An exponential curve never reaches 0, so 0 is replaced by 0.001.
        return max(self.start, 1e-3) * math.exp(math.log(max(self.end, 1e-3) / max(self.start, 1e-3)) * progress)
