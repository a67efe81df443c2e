"""How often an agent tries an action at random."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Epsilon:
    """The probability ε of a random action, by timestep.

    Args:
        start: at the first timestep.
        end: from `timesteps` on.
        timesteps: over which it falls.
        schedule: "linear" or "exponential", both from `start` to `end`; "constant" is `end` at all times.
    """

    start: float
    end: float
    timesteps: int
    schedule: Literal["linear", "exponential", "constant"]

    def at(self, timestep: int) -> float:
        """Return ε at a timestep, counted from 0."""
        if self.schedule == "constant" or timestep >= self.timesteps:
            return self.end
        share = timestep / self.timesteps
        if self.schedule == "linear":
            return self.start + (self.end - self.start) * share
        # An exponential curve never reaches 0; a thousandth is near enough for an end of 0.
        return max(self.start, 1e-3) * math.exp(math.log(max(self.end, 1e-3) / max(self.start, 1e-3)) * share)
