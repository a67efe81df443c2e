"""Replay memory: moves that were made, to learn from again and again.

Every frame is kept once, as the environment gave it: a stack of frames, the observation after a move and the
sum of n rewards are put together when a move is sampled. An episode of T moves takes T + 1 slots, as the
observation it closed with is kept too; no move starts there, which is also how an episode's end is seen.

Axes: N players, C slots of each, B moves of a batch. Slot t of player n is number t N + n.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dlpipe.checkpoint import Block
from dlpipe.compute import Compute
from dlpipe_rl.episodes import Array
from dlpipe_rl.memory import Room

#: Frames are saved in blocks of about so many bytes, of which a checkpoint writes those that changed.
BLOCK_BYTES = 32_000_000


@dataclass(slots=True)
class Transitions:
    """A batch of moves.

    Args:
        slots: (B,) where each was made.
        obs: (B, …) what was seen.
        actions: (B,) int64.
        returns: (B,) sum of the next n rewards, discounted; fewer if the episode ended.
        discounts: (B,) of the value of what was seen then; 0 where the episode terminated, not where it was
            cut off.
        next_obs: (B, …) what was seen then.
    """

    slots: Array
    obs: Tensor
    actions: Tensor
    returns: Tensor
    discounts: Tensor
    next_obs: Tensor


class Replay:
    """A ring of moves for each player.

    Args:
        size: moves of all players together.
        frame_shape: of what is kept once per move: an observation without the older frames of its stack.
        frame_stack: frames of an observation.
        n_step: rewards that are summed up.
        storage: of the frames, see `dlpipe_rl.memory.Room`; they lie on the GPU where they fit there.
        compute: where batches are wanted.

    Attributes:
        slots: of all players.
    """

    def __init__(
        self,
        size: int,
        players: int,
        frame_shape: Sequence[int],
        dtype: torch.dtype,
        *,
        frame_stack: int = 1,
        n_step: int = 1,
        gamma: float = 0.99,
        storage: Literal["auto", "memory", "disk"] = "auto",
        compute: Compute,
    ) -> None:
        # Room beside the moves for the frame seen now, and for those before it that stacks can no longer reach.
        self._length = -(-size // players) + frame_stack
        count = self._length * players
        advice = f"[trainer] replay_size = {size:,}: take a smaller one"
        self.slots = count
        self._room = Room((count, *frame_shape), dtype, storage, advice)
        self._device = compute.device
        self._frames = self._room.tensor.to(self._device) if compute.holds(self._room.nbytes) else self._room.tensor
        self._writable = self._frames.numpy() if self._frames.device.type == "cpu" else None
        self._players, self._stack, self._n_step, self._gamma = players, frame_stack, n_step, gamma
        self._arrays: dict[str, Array] = {
            "actions": np.zeros(count, np.int64),
            "rewards": np.zeros(count, np.float32),
            "discounts": np.zeros(count, np.float32),  # of what comes behind the move: γ, or 0 where it terminated
            "ages": np.zeros(count, np.uint8),  # frames since the episode began, as far as stacks care
            "moved": np.zeros(count, bool),  # whether a move starts here that can be sampled
        }
        self._per_block = max(1, BLOCK_BYTES // (self._room.nbytes // count))
        self._heads = list(range(-players, 0))  # the slot of what each player sees now
        self._seen = [0] * players  # frames of each player, ever
        self._ages = [0] * players  # frames since its episode began
        self._written = 0  # slots below this one hold something

    @property
    def told(self) -> str:
        """What it takes, in words."""
        return f"replay of {self.slots:,} frames: {self._room.told}"

    def begin(self, obs: Array) -> None:
        """Take in what the players see (N, …) at the beginning of their first episodes."""
        for player, seen in enumerate(obs):
            self._see(player, seen)

    def add(
        self,
        actions: Array,
        rewards: Sequence[float],
        terminated: Sequence[bool],
        obs: Array,
        last: Mapping[int, Array],
    ) -> tuple[list[int], list[int]]:
        """Take in one move of every player, and what they see then; see `dlpipe_rl.players.Moves`.

        Returns:
            (N,) the slots of the moves, and those whose moves are gone.
        """
        arrays, made, lost = self._arrays, self._heads.copy(), list[int]()
        # One number at a time: of a single player, as is usual here, numpy's ways with many would take longer.
        for player, slot in enumerate(made):
            arrays["actions"][slot] = actions[player]
            arrays["rewards"][slot] = rewards[player]
            arrays["discounts"][slot] = 0.0 if terminated[player] else self._gamma
            arrays["moved"][slot] = True
            self._ages[player] += 1
            if player in last:
                lost += self._see(player, last[player])
                self._ages[player] = 0
            lost += self._see(player, obs[player])
        return made, lost

    def sample(self, batch_size: int, random: np.random.Generator) -> Transitions:
        """Return moves, each as likely as any other."""
        moved = self._arrays["moved"]
        count = batch_size + batch_size // 4 + 8  # some more than are needed: no move starts where an episode closed
        found = random.integers(self._written, size=count)
        found = found[moved[found]]
        while len(found) < batch_size:
            more = random.integers(self._written, size=count)
            found = np.concatenate([found, more[moved[more]]])
        return self.at(found[:batch_size])

    def at(self, slots: Array) -> Transitions:
        """Return the moves that were made at `slots` (B,)."""
        arrays, count = self._arrays, self.slots
        returns, discounts = arrays["rewards"].take(slots), arrays["discounts"].take(slots)
        end = (slots + self._players) % count
        for _ in range(self._n_step - 1):
            # A slot without a move is what an episode closed with, or what is seen now: the sum ends there.
            further = arrays["moved"].take(end)
            returns = returns + arrays["rewards"].take(end) * discounts * further
            discounts = np.where(further, discounts * arrays["discounts"].take(end), discounts)
            end = np.where(further, (end + self._players) % count, end)
        actions, sums, factors = map(self._there, (arrays["actions"].take(slots), returns, discounts))
        return Transitions(slots, self._observations(slots), actions, sums, factors, self._observations(end))

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the frames, which `blocks` has."""
        written = self._written
        return {
            "heads": list(self._heads),
            "seen": list(self._seen),
            "ages_now": list(self._ages),
            "written": written,
            **{name: torch.from_numpy(array[:written]) for name, array in self._arrays.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; `load_blocks` brings the frames."""
        written = self._written = state["written"]
        self._heads, self._seen, self._ages = (list(state[name]) for name in ("heads", "seen", "ages_now"))
        for name, array in self._arrays.items():
            array[:written] = state[name].numpy()

    def blocks(self) -> dict[str, Block]:
        """Return the frames, as far as there are any, in blocks; a block's version is how often it was written to."""
        length, size = self._length, self._per_block
        rounds = (
            np.array(self._seen) - np.arange(length)[:, np.newaxis] + length - 1
        ) // length  # (C, N) writes of each slot
        starts = range(0, self._written, size)
        versions = np.add.reduceat(rounds.ravel()[: self._written], starts)
        return {
            f"replay-{start // size:05d}": Block(
                int(version), {"frames": self._frames[start : min(start + size, self._written)]}
            )
            for start, version in zip(starts, versions, strict=True)
        }

    def load_blocks(self, blocks: Iterable[tuple[str, Mapping[str, Tensor]]]) -> None:
        """Take back the frames."""
        for name, tensors in blocks:
            start = int(name.removeprefix("replay-")) * self._per_block
            frames = tensors["frames"]
            self._frames[start : start + len(frames)] = frames.to(self._frames.device)

    def close(self) -> None:
        """Give back what is on the disk."""
        self._room.close()

    def _see(self, player: int, obs: Array) -> list[int]:
        """Write the newest frame of what a player sees into its next slot; return the slots whose moves are gone."""
        slot = self._heads[player] = (self._heads[player] + self._players) % self.slots
        self._seen[player] += 1
        moved, lost = self._arrays["moved"], [slot]
        moved[slot] = False
        if self._stack > 1:
            # The stack of this slot would reach over the new frame.
            unreachable = (slot + (self._stack - 1) * self._players) % self.slots
            lost.append(unreachable)
            moved[unreachable] = False
            self._arrays["ages"][slot] = min(self._ages[player], self._stack - 1)
            obs = obs[-self._frames.shape[1] :]
        if self._writable is not None:
            self._writable[slot] = obs
        else:
            self._frames[slot] = torch.from_numpy(obs).to(self._device)
        if self._written < self.slots:
            self._written = max(self._written, (slot // self._players + 1) * self._players)
        return lost

    def _observations(self, slots: Array) -> Tensor:
        """Return (B, …) what was seen at `slots`, stacks put together."""
        if self._stack == 1:
            return self._gather(slots)
        back = np.arange(self._stack - 1, -1, -1)
        back = np.minimum(back, self._arrays["ages"].take(slots)[:, np.newaxis])  # (B, frames)
        places = (slots[:, np.newaxis] - back * self._players) % self.slots
        return self._gather(places.ravel()).view(len(slots), -1, *self._frames.shape[2:])

    def _gather(self, slots: Array) -> Tensor:
        if self._writable is not None:
            frames = self._frames.index_select(0, torch.from_numpy(slots))
            return frames if self._device.type == "cpu" else frames.to(self._device)
        return self._frames.index_select(0, self._there(slots))

    def _there(self, column: Array) -> Tensor:
        """Return numbers on the device of the batch."""
        tensor = torch.from_numpy(column)
        return tensor if self._device.type == "cpu" else tensor.to(self._device)
