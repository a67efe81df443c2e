"""Priorities for prioritized replay: transitions with a large TD error are replayed more often.

Source: Schaul et al. 2016, "Prioritized Experience Replay", https://arxiv.org/abs/1511.05952, section 3.3,
the proportional variant, with a binary sum tree.
Departs from it: samples are independent, not stratified over B equal ranges.
Axes: S slots of the replay buffer, B transitions of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlpipe_rl.checked_env import Array

#: Added to every TD error, so that a transition with error 0 can be sampled again (the paper's ε).
FLOOR = 1e-6


class Priorities:
    """A sum tree whose leaves are the priorities of S slots.

    Args:
        alpha: α, the exponent of the TD error; above 0.
    """

    def __init__(self, slots: int, alpha: float) -> None:
        self._depth = max(1, (slots - 1).bit_length())
        self._slots, self._alpha = slots, alpha
        self._first = 2**self._depth  # the leaf of slot 0; node 1 is the root
        self._sums = np.zeros(2 * self._first)
        self._largest = 1.0

    def add(self, added: Sequence[int], removed: Sequence[int]) -> None:
        """Give new transitions the highest priority so far, and overwritten ones priority 0."""
        self.set(np.array(removed), 0)
        self.set(np.array(added), self._largest)

    def set(self, slots: Array, priorities: Array | float) -> None:
        """Set the priorities of slots (B,); priority 0 is never sampled."""
        nodes = slots + self._first
        self._sums[nodes] = priorities
        for _ in range(self._depth):
            nodes = nodes >> 1
            # Recomputed from both children, not by differences: the sums depend on the leaves only.
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def sample(self, batch_size: int, beta: float, rng: torch.Generator) -> tuple[Array, Tensor]:
        """Sample slots in proportion to their priorities.

        Args:
            beta: β, strength of the importance-sampling correction, from 0 to 1.

        Returns:
            slots (B,), and the importance-sampling weights of their transitions (B,), at most 1.
        """
        left = torch.rand(batch_size, dtype=torch.float64, generator=rng).numpy() * self._sums[1]
        nodes = np.ones(batch_size, np.int64)
        for _ in range(self._depth):
            nodes *= 2
            lower = self._sums[nodes]
            # Never enter a subtree without priorities, even if the remainder is too large after rounding.
            right = (left >= lower) & (self._sums[nodes + 1] > 0)
            left -= np.where(right, lower, 0)
            nodes += right
        weights = self._sums[nodes] ** -beta
        return nodes - self._first, torch.from_numpy(weights / weights.max()).float()

    def update(self, slots: Array, errors: Tensor) -> None:
        """Set the priorities of replayed transitions from their TD errors (B,)."""
        priorities = (errors.double().cpu().numpy() + FLOOR) ** self._alpha
        self._largest = max(self._largest, float(priorities.max()))
        self.set(slots, priorities)

    def state_dict(self) -> dict[str, Any]:
        """Return the leaves; the sums follow from them."""
        leaves = self._sums[self._first : self._first + self._slots]
        return {"leaves": torch.from_numpy(leaves), "largest": self._largest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state."""
        self._largest = state["largest"]
        self.set(np.arange(self._slots), state["leaves"].numpy())
