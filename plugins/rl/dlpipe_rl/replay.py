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


@dataclass(frozen=True)
class Transitions:
    """A batch of moves.

    Args:
        slots: (B,) where each was made, on the CPU.
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


class Replay:
    """A ring of moves for each player.

    Args:
        size: moves of all players together.
        frame_shape: of what is kept once per move: an observation without the older frames of its stack.
        frame_stack: frames of an observation.
        n_step: rewards that are summed up.
        storage: of the frames, see `dlpipe_rl.memory.Room`; they lie on the GPU where they fit there.
        compute: where batches are wanted.
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
        self._room = Room((count, *frame_shape), dtype, storage, advice)
        self._device = compute.device
        self._frames = self._room.tensor.to(self._device) if compute.holds(self._room.nbytes) else self._room.tensor
        self._writable = self._frames.numpy() if self._frames.device.type == "cpu" else None
        self._players, self._stack, self._n_step, self._gamma = players, frame_stack, n_step, gamma
        # numpy writes single numbers ten times faster, torch gathers faster: both see the same memory.
        self._arrays: dict[str, Array] = {
            "actions": np.zeros(count, np.int64),
            "rewards": np.zeros(count, np.float32),
            "ages": np.zeros(count, np.uint8),  # frames since the episode began, as far as stacks care
            "moved": np.zeros(count, bool),  # whether a move starts here that can be sampled
            "goes_on": np.zeros(count, np.float32),  # 0 where the move terminated the episode
        }
        self._tensors = {name: torch.from_numpy(array) for name, array in self._arrays.items()}
        self._per_block = max(1, BLOCK_BYTES // (self._room.nbytes // count))
        self._versions = np.zeros(-(-count // self._per_block), np.int64)  # how often each block was written to
        self._heads = np.full(players, -1)  # the slot of what each player sees now
        self._ages = np.zeros(players, np.int64)
        self._everyone = np.arange(players)
        self._written = 0  # slots below this one hold something

    @property
    def slots(self) -> int:
        """All slots of all players."""
        return len(self._arrays["moved"])

    @property
    def told(self) -> str:
        """What it takes, in words."""
        return f"replay of {self.slots:,} frames: {self._room.told}"

    def begin(self, obs: Array) -> None:
        """Take in what the players see (N, …) at the beginning of their first episodes."""
        self._see(self._everyone, obs)

    def add(
        self, actions: Array, rewards: Array, terminated: Array, obs: Array, last: Mapping[int, Array]
    ) -> tuple[Array, Array]:
        """Take in one move of every player, and what they see then; see `dlpipe_rl.players.Moves`.

        Returns:
            (N,) the slots of the moves, and those whose moves are gone.
        """
        slots = self._heads * self._players + self._everyone
        arrays = self._arrays
        arrays["actions"][slots] = actions
        arrays["rewards"][slots] = rewards
        arrays["goes_on"][slots] = ~terminated
        arrays["moved"][slots] = True
        self._ages += 1
        if last:
            closing = obs.copy()
            for player, seen in last.items():
                closing[player] = seen
            lost = self._see(self._everyone, closing)
            ended = np.array(list(last))
            self._ages[ended] = 0
            lost = np.concatenate([lost, self._see(ended, obs[ended])])
        else:
            lost = self._see(self._everyone, obs)
        return slots, lost

    def sample(self, batch_size: int, generator: torch.Generator) -> Transitions:
        """Return moves, each as likely as any other."""
        moved = self._tensors["moved"]
        slots = torch.randint(self._written, (batch_size,), generator=generator)
        while not (usable := moved[slots]).all():
            wrong = (~usable).nonzero().squeeze(1)
            slots[wrong] = torch.randint(self._written, (len(wrong),), generator=generator)
        return self.at(slots)

    def at(self, slots: Tensor) -> Transitions:
        """Return the moves that were made at `slots` (B,)."""
        tensors, count = self._tensors, self.slots
        returns = tensors["rewards"].index_select(0, slots)
        discounts = tensors["goes_on"].index_select(0, slots) * self._gamma
        end = (slots + self._players) % count
        for _ in range(self._n_step - 1):
            # A slot without a move is what an episode closed with, or what is seen now: the sum ends there.
            further = tensors["moved"].index_select(0, end)
            returns = returns + tensors["rewards"].index_select(0, end) * discounts * further
            step = tensors["goes_on"].index_select(0, end) * self._gamma
            discounts = torch.where(further, discounts * step, discounts)
            end = torch.where(further, (end + self._players) % count, end)
        device = self._device
        return Transitions(
            slots,
            self._observations(slots),
            tensors["actions"].index_select(0, slots).to(device),
            returns.to(device),
            discounts.to(device),
            self._observations(end),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the frames, which `blocks` has."""
        written = self._written
        return {
            "heads": self._heads.tolist(),
            "ages_now": self._ages.tolist(),
            "written": written,
            "versions": self._versions.tolist(),
            **{name: tensor[:written] for name, tensor in self._tensors.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; `load_blocks` brings the frames."""
        written = self._written = state["written"]
        self._heads[:], self._ages[:] = state["heads"], state["ages_now"]
        self._versions[:] = state["versions"]
        for name, tensor in self._tensors.items():
            tensor[:written] = state[name]

    def blocks(self) -> dict[str, Block]:
        """Return the frames, as far as there are any, in blocks."""
        size = self._per_block
        return {
            f"replay-{number:05d}": Block(
                int(version), {"frames": self._frames[number * size : min((number + 1) * size, self._written)]}
            )
            for number, version in enumerate(self._versions)
            if version
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

    def _see(self, players: Array, obs: Array) -> Array:
        """Write the newest frame of what `players` see into their next slots; return those whose moves are gone."""
        heads = self._heads[players] = (self._heads[players] + 1) % self._length
        slots = lost = heads * self._players + players
        if self._stack > 1:  # the stacks of the next slots would reach over this one
            lost = np.concatenate([slots, (heads + self._stack - 1) % self._length * self._players + players])
        self._arrays["moved"][lost] = False
        self._versions[slots // self._per_block] += 1
        self._arrays["ages"][slots] = np.minimum(self._ages[players], self._stack - 1)
        newest = obs[:, -self._frames.shape[1] :]
        if self._writable is not None:
            self._writable[slots] = newest
        else:
            self._frames[torch.from_numpy(slots).to(self._device)] = torch.from_numpy(newest).to(self._device)
        self._written = max(self._written, int(heads.max() + 1) * self._players)
        return lost

    def _observations(self, slots: Tensor) -> Tensor:
        """Return (B, …) what was seen at `slots`, stacks put together."""
        if self._stack == 1:
            return self._gather(slots)
        back = torch.arange(self._stack - 1, -1, -1)
        back = torch.minimum(back, self._tensors["ages"].index_select(0, slots).unsqueeze(1))  # (B, frames)
        places = (slots.unsqueeze(1) - back * self._players) % self.slots
        return self._gather(places.view(-1)).view(len(slots), -1, *self._frames.shape[2:])

    def _gather(self, slots: Tensor) -> Tensor:
        return self._frames.index_select(0, slots.to(self._frames.device)).to(self._device, non_blocking=True)
