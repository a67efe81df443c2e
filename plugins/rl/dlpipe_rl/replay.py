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

from dlpipe.compute import Compute
from dlpipe.training import StateBlock
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

    slots: Tensor
    obs: Tensor
    actions: Tensor
    returns: Tensor
    discounts: Tensor
    next_obs: Tensor

    def to(self, device: torch.device) -> Transitions:
        """Return them on a device; `slots` stays where it is."""
        rest = (self.obs, self.actions, self.returns, self.discounts, self.next_obs)
        return Transitions(self.slots, *(tensor.to(device) for tensor in rest))


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
        self._frames = self._room.tensor.to(self._device) if compute.fits(self._room.nbytes) else self._room.tensor
        self._writable = self._frames.numpy() if self._frames.device.type == "cpu" else None
        self._players, self._stack, self._n_step, self._gamma = players, frame_stack, n_step, gamma
        self._columns = {
            "actions": torch.zeros(count, dtype=torch.int64),
            # The reward, and the discount of what comes behind the move: γ, or 0 where it terminated.
            "outcomes": torch.zeros(count, 2),
            "ages": torch.zeros(count, dtype=torch.uint8),  # frames since the episode began, as far as stacks care
        }
        # The slots where a move starts that can be sampled, in no order; and where each slot is among them, or -1.
        self._starts, self._count = torch.zeros(count, dtype=torch.int64), 0
        self._places = torch.full((count,), -1)
        # The same memory: numpy writes single numbers faster, and torch reads batches faster, between two updates.
        columns = self._columns | {"starts": self._starts, "places": self._places}
        self._arrays = {name: column.numpy() for name, column in columns.items()}
        self._behind = (torch.arange(count) + players) % count  # the slot that follows
        self._back = torch.arange(frame_stack - 1, -1, -1)
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
        actions: Sequence[int],
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
            arrays["outcomes"][slot, 0] = rewards[player]
            arrays["outcomes"][slot, 1] = 0.0 if terminated[player] else self._gamma
            self._remember(slot)
            self._ages[player] += 1
            if player in last:
                lost += self._see(player, last[player])
                self._ages[player] = 0
            lost += self._see(player, obs[player])
        return made, lost

    def sample(self, batch_size: int, random: torch.Generator) -> Transitions:
        """Return moves, each as likely as any other."""
        rows = torch.randint(self._count, (batch_size,), generator=random)
        return self.at(self._starts.index_select(0, rows))

    def at(self, slots: Tensor) -> Transitions:
        """Return the moves that were made at `slots` (B,)."""
        actions, outcomes = self._columns["actions"], self._columns["outcomes"]
        returns, discounts = outcomes.index_select(0, slots).unbind(1)
        end = self._behind.index_select(0, slots)
        for _ in range(self._n_step - 1):
            # A slot without a move is what an episode closed with, or what is seen now: the sum ends there.
            further = self._places.index_select(0, end) >= 0
            rewards, factors = outcomes.index_select(0, end).unbind(1)
            returns = torch.where(further, returns + discounts * rewards, returns)
            discounts = torch.where(further, discounts * factors, discounts)
            end = torch.where(further, self._behind.index_select(0, end), end)
        gather = self._gather if self._stack == 1 else self._gather_stacks
        moves = Transitions(slots, gather(slots), actions.index_select(0, slots), returns, discounts, gather(end))
        return moves if self._device.type == "cpu" else moves.to(self._device)

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the frames, which `state_blocks` has."""
        written, arrays = self._written, self._arrays
        # Parts of the arrays: of a tensor's part, torch saves the whole.
        return {
            "heads": list(self._heads),
            "seen": list(self._seen),
            "ages_now": list(self._ages),
            "written": written,
            "starts": torch.from_numpy(arrays["starts"][: self._count]),
            **{name: torch.from_numpy(arrays[name][:written]) for name in self._columns},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; `load_state_blocks` brings the frames."""
        written = self._written = state["written"]
        self._heads, self._seen, self._ages = (list(state[name]) for name in ("heads", "seen", "ages_now"))
        for name, column in self._columns.items():
            column[:written] = state[name]
        starts = state["starts"]
        self._count = len(starts)
        self._starts[: self._count] = starts
        self._places.fill_(-1)
        self._places[starts] = torch.arange(self._count)

    def state_blocks(self) -> dict[str, StateBlock]:
        """Return the frames, as far as there are any, in blocks; a block's version is how often it was written to."""
        length, size = self._length, self._per_block
        rounds = (
            np.array(self._seen) - np.arange(length)[:, np.newaxis] + length - 1
        ) // length  # (C, N) writes of each slot
        starts = range(0, self._written, size)
        versions = np.add.reduceat(rounds.ravel()[: self._written], starts)
        return {
            f"replay-{start // size:05d}": StateBlock(
                int(version), {"frames": self._frames[start : min(start + size, self._written)]}
            )
            for start, version in zip(starts, versions, strict=True)
        }

    def load_state_blocks(self, blocks: Iterable[tuple[str, Mapping[str, Tensor]]]) -> None:
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
        lost = [slot]
        self._forget(slot)
        if self._stack > 1:
            # The stack of this slot would reach over the new frame.
            unreachable = (slot + (self._stack - 1) * self._players) % self.slots
            lost.append(unreachable)
            self._forget(unreachable)
            self._arrays["ages"][slot] = min(self._ages[player], self._stack - 1)
            obs = obs[-self._frames.shape[1] :]
        if self._writable is not None:
            self._writable[slot] = obs
        else:
            self._frames[slot] = torch.from_numpy(obs).to(self._device)
        if self._written < self.slots:
            self._written = max(self._written, (slot // self._players + 1) * self._players)
        return lost

    def _remember(self, slot: int) -> None:
        """Let the move that starts at `slot` be sampled."""
        self._arrays["starts"][self._count] = slot
        self._arrays["places"][slot] = self._count
        self._count += 1

    def _forget(self, slot: int) -> None:
        """Let no move that starts at `slot` be sampled; the last of the others takes its place."""
        starts, places = self._arrays["starts"], self._arrays["places"]
        place = places[slot]
        if place < 0:
            return
        self._count -= 1
        last = starts[self._count]
        starts[place], places[last] = last, place
        places[slot] = -1

    def _gather(self, slots: Tensor) -> Tensor:
        """Return (B, …) the frames at `slots`, where the frames are."""
        return self._frames.index_select(0, slots if self._writable is not None else slots.to(self._device))

    def _gather_stacks(self, slots: Tensor) -> Tensor:
        """Return (B, …) what was seen at `slots`, stacks put together."""
        back = torch.minimum(self._back, self._columns["ages"].index_select(0, slots).unsqueeze(1))  # (B, frames)
        places = (slots.unsqueeze(1) - back * self._players) % self.slots
        return self._gather(places.ravel()).view(len(slots), -1, *self._frames.shape[2:])
