"""Which moves to replay more often: those whose values were most wrong when they were last looked at.

Source: Schaul et al. 2016, "Prioritized Experience Replay", https://arxiv.org/abs/1511.05952, section 3.3,
the proportional variant, with a binary tree of sums.
Departs from it: draws are independent of each other, not one from each of B equal ranges.
Axes: S slots of the replay, B moves of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlpipe_rl.episodes import Array

#: Keeps a move whose value was exactly right from never being looked at again (the paper's ε).
FLOOR = 1e-6


class Priorities:
    """A tree whose leaves are the priorities of S slots, and each node the sum of the two below it.

    Args:
        alpha: how much the error counts, the paper's α; above 0.
    """

    def __init__(self, slots: int, alpha: float) -> None:
        self._depth = max(1, (slots - 1).bit_length())
        self._slots, self._alpha = slots, alpha
        self._first = 2**self._depth  # the leaf of slot 0; node 1 is the root
        self._sums = np.zeros(2 * self._first)
        self._largest = 1.0

    def add(self, made: Sequence[int], lost: Sequence[int]) -> None:
        """Take notice of new moves, which come first until they were replayed, and of those that are gone."""
        self.set(np.array(lost), 0)
        self.set(np.array(made), self._largest)

    def set(self, slots: Array, priorities: Array | float) -> None:
        """Give slots (B,) their priorities; 0 is never drawn."""
        nodes = slots + self._first
        self._sums[nodes] = priorities
        for _ in range(self._depth):
            nodes = nodes >> 1
            # From both children, not by the difference: so the tree depends on its leaves and on nothing else.
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def sample(self, batch_size: int, beta: float, random: torch.Generator) -> tuple[Array, Tensor]:
        """Draw slots in proportion to their priorities.

        Args:
            beta: how much is corrected for drawing some more often, the paper's β: from 0 to 1.

        Returns:
            (B,) slots, and (B,) the weights of their moves in the loss, at most 1.
        """
        left = torch.rand(batch_size, dtype=torch.float64, generator=random).numpy() * self._sums[1]
        nodes = np.ones(batch_size, np.int64)
        for _ in range(self._depth):
            nodes *= 2
            lower = self._sums[nodes]
            # A subtree without priorities is never entered, even where rounding leaves too much.
            right = (left >= lower) & (self._sums[nodes + 1] > 0)
            left -= np.where(right, lower, 0)
            nodes += right
        weights = self._sums[nodes] ** -beta
        return nodes - self._first, torch.from_numpy(weights / weights.max()).float()

    def update(self, slots: Array, errors: Tensor) -> None:
        """Set the priorities of moves that were replayed, by their errors (B,)."""
        priorities = (errors.double().cpu().numpy() + FLOOR) ** self._alpha
        self._largest = max(self._largest, float(priorities.max()))
        self.set(slots, priorities)

    def state_dict(self) -> dict[str, Any]:
        """Return the leaves; the sums follow from them."""
        leaves = self._sums[self._first : self._first + self._slots]
        return {"leaves": torch.from_numpy(leaves), "largest": self._largest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self._largest = state["largest"]
        self.set(np.arange(self._slots), state["leaves"].numpy())
