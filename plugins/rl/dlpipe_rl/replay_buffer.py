"""Replay buffer of past transitions.

Every frame is stored once, as the environment returned it: frame stacks, next observations and n-step returns are
assembled when a transition is sampled. An episode of T steps takes T + 1 slots, because its final observation is
stored too. No transition starts at that slot, which is also how the end of an episode is recognized.

Axes: N environments, C slots of each, B transitions of a batch. Slot t of environment n has the number t N + n.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlpipe.compute import Compute
from dlpipe.training import StateBlock
from dlpipe_rl.checked_env import Array
from dlpipe_rl.frame_storage import FrameStorage

#: Of frames of at most this many numbers, numpy gathers a batch: a call of torch costs more than the copies.
SMALL = 64
#: Frames are saved in blocks of about this many bytes; a checkpoint writes only the blocks that changed.
BLOCK_BYTES = 32_000_000
#: Numbers of slots.
Slots = NDArray[np.int64]


@dataclass(slots=True)
class Transitions:
    """A batch of transitions.

    Args:
        slots: (B,) where each is stored; a numpy array.
        obs: (B, …).
        actions: (B, 1) int64, as `Tensor.gather` takes them, or (B, K) float32, the components of continuous ones.
        returns: (B,) discounted sum of the next n rewards, or of fewer if the episode ended.
        discounts: (B,) factor of the value of `next_obs`; 0 if the episode terminated, but not if it was truncated.
        next_obs: (B, …) n steps later, or at the end of the episode.
    """

    slots: Slots
    obs: Tensor
    actions: Tensor
    returns: Tensor
    discounts: Tensor
    next_obs: Tensor

    def to(self, device: torch.device) -> Transitions:
        """Return the batch on a device, except `slots`."""
        rest = (self.obs, self.actions, self.returns, self.discounts, self.next_obs)
        return Transitions(self.slots, *(tensor.to(device, non_blocking=True) for tensor in rest))


class ReplayBuffer:
    """A ring buffer of transitions for each environment.

    Args:
        size: capacity in transitions, of all environments together.
        num_envs: N.
        frame_shape: of one frame: an observation without the older frames of its stack.
        action_shape: of a continuous action; empty if actions are discrete.
        frame_stack: frames per observation.
        n_step: number of rewards that are summed.
        gamma: discount factor γ.
        storage: of the frames, see `dlpipe_rl.frame_storage.FrameStorage`; they are on the GPU if they fit there.
        compute: its device is where batches are returned.

    Attributes:
        slots: number of slots, of all environments together.
    """

    def __init__(
        self,
        size: int,
        num_envs: int,
        frame_shape: Sequence[int],
        dtype: torch.dtype,
        *,
        action_shape: Sequence[int] = (),
        frame_stack: int = 1,
        n_step: int = 1,
        gamma: float = 0.99,
        storage: Literal["auto", "memory", "disk"] = "auto",
        compute: Compute,
    ) -> None:
        # More slots than transitions: for the current frame, and for the oldest ones whose stacks are incomplete.
        self._length = -(-size // num_envs) + frame_stack
        count = self._length * num_envs
        self.slots = count
        self._storage = FrameStorage((count, *frame_shape), dtype, storage, f"lower replay_size = {size:,}")
        self._device, frames = compute.device, self._storage.tensor
        self._is_cpu = compute.device.type == "cpu"
        self._frames = frames.to(self._device) if compute.fits(self._storage.nbytes) else frames
        self._writable = self._frames.numpy() if self._frames.device.type == "cpu" else None
        self._small = self._writable if self._is_cpu and math.prod(frame_shape) <= SMALL else None
        # Memory for the small frames of a batch, used in turn: to allocate it would cost more than the copies.
        self._rooms = [self._room_for(0), self._room_for(0)] if self._small is not None else []
        self._num_envs, self._stack, self._n_step, self._gamma = num_envs, frame_stack, n_step, gamma
        # Numpy arrays, whose single numbers and small batches cost a fraction of those of tensors.
        self._actions: NDArray[Any] = (
            np.zeros((count, math.prod(action_shape)), np.float32) if action_shape else np.zeros((count, 1), np.int64)
        )
        self._rewards = np.zeros(count, np.float32)
        # Of the value after the step: γ, or 0 if the episode terminated.
        self._discounts = np.zeros(count, np.float32)
        # Frames since the episode began, at most those of a stack.
        self._ages = np.zeros(count, np.min_scalar_type(frame_stack - 1))
        self._columns: dict[str, NDArray[Any]] = {
            "actions": self._actions,
            "rewards": self._rewards,
            "discounts": self._discounts,
            "ages": self._ages,
        }
        # The slots of the transitions that can be sampled, in no order; and the position of each slot there, or -1.
        self._starts, self._count = np.zeros(count, np.int64), 0
        self._positions = np.full(count, -1)
        self._next_slots = (np.arange(count) + num_envs) % count
        self._back = np.arange(frame_stack - 1, -1, -1)
        self._per_block = max(1, BLOCK_BYTES // (self._storage.nbytes // count))
        self._heads = list(range(-num_envs, 0))  # the slot of the current frame of each environment
        self._frame_counts = [0] * num_envs  # frames of each environment so far
        self._current_ages = [0] * num_envs  # frames since its episode began
        self._written = 0  # all slots below this one are in use

    @property
    def description(self) -> str:
        """Its size and where it is, in words."""
        return f"replay of {self.slots:,} frames: {self._storage.description}"

    def start(self, obs: Array) -> None:
        """Store the first observations (N, …)."""
        for index, each in enumerate(obs):
            self._write_frame(index, each)

    def add(
        self,
        actions: Sequence[int] | Array,
        rewards: Sequence[float],
        terminated: Sequence[bool],
        obs: Array,
        final_obs: Mapping[int, Array],
    ) -> tuple[list[int], list[int]]:
        """Store one transition of every environment; see `dlpipe_rl.vector_env.StepResult`.

        Args:
            actions: N indices of discrete actions, or (N, K).

        Returns:
            (N,) the slots of the new transitions, and the slots whose transitions were overwritten.
        """
        added = self._heads.copy()
        removed: list[int] = []
        # One number at a time: with one environment, which is usual here, vectorized numpy would be slower.
        for index, slot in enumerate(added):
            self._actions[slot] = actions[index]
            self._rewards[slot] = rewards[index]
            self._discounts[slot] = 0.0 if terminated[index] else self._gamma
            self._starts[self._count], self._positions[slot] = slot, self._count  # from now on, it can be sampled
            self._count += 1
            self._current_ages[index] += 1
            if index in final_obs:
                removed += self._write_frame(index, final_obs[index])
                self._current_ages[index] = 0
            removed += self._write_frame(index, obs[index])
        return added, removed

    def sample(self, batch_size: int, rng: torch.Generator) -> Transitions:
        """Return transitions that are sampled uniformly; the next call may overwrite their observations."""
        rows = torch.randint(self._count, (batch_size,), generator=rng).numpy()
        return self.at(self._starts.take(rows))

    def at(self, slots: Slots) -> Transitions:
        """Return the transitions at `slots` (B,); the next call may overwrite their observations."""
        returns, discounts = self._rewards.take(slots), self._discounts.take(slots)
        end = self._next_slots.take(slots)
        for _ in range(self._n_step - 1):
            # A slot without a transition holds a final or a current observation: the sum ends there.
            continues = self._positions.take(end) >= 0
            returns = np.where(continues, returns + discounts * self._rewards.take(end), returns)
            discounts = np.where(continues, discounts * self._discounts.take(end), discounts)
            end = np.where(continues, self._next_slots.take(end), end)
        gather = self._gather if self._stack == 1 else self._gather_stacks
        batch = Transitions(
            slots,
            gather(slots),
            torch.from_numpy(self._actions.take(slots, 0)),
            torch.from_numpy(returns),
            torch.from_numpy(discounts),
            gather(end),
        )
        return batch if self._is_cpu else batch.to(self._device)

    def state_dict(self) -> dict[str, Any]:
        """Return all state except the frames, which are in `state_blocks`."""
        written = self._written
        return {
            "heads": list(self._heads),
            "frame_counts": list(self._frame_counts),
            "current_ages": list(self._current_ages),
            "written": written,
            "starts": torch.from_numpy(self._starts[: self._count]),
            **{name: torch.from_numpy(column[:written]) for name, column in self._columns.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state; `load_state_blocks` restores the frames."""
        written = self._written = state["written"]
        names = ("heads", "frame_counts", "current_ages")
        self._heads, self._frame_counts, self._current_ages = (list(state[name]) for name in names)
        for name, column in self._columns.items():
            column[:written] = state[name].numpy()
        starts = state["starts"].numpy()
        self._count = len(starts)
        self._starts[: self._count] = starts
        self._positions.fill(-1)
        self._positions[starts] = np.arange(self._count)

    def state_blocks(self) -> dict[str, StateBlock]:
        """Return the frames in blocks; the version of a block counts how often it was written to."""
        length, size = self._length, self._per_block
        # How often each slot was written to: (C, N).
        rounds = (np.array(self._frame_counts) - np.arange(length)[:, np.newaxis] + length - 1) // length
        starts = range(0, self._written, size)
        versions = np.add.reduceat(rounds.ravel()[: self._written], starts)
        return {
            f"replay-{start // size:05d}": StateBlock(
                int(version), {"frames": self._frames[start : min(start + size, self._written)]}
            )
            for start, version in zip(starts, versions, strict=True)
        }

    def load_state_blocks(self, blocks: Iterable[tuple[str, Mapping[str, Tensor]]]) -> None:
        """Restore the frames."""
        for name, tensors in blocks:
            start = int(name.removeprefix("replay-")) * self._per_block
            frames = tensors["frames"]
            self._frames[start : start + len(frames)] = frames.to(self._frames.device)

    def close(self) -> None:
        """Remove the scratch file, if there is one."""
        self._storage.close()

    def _write_frame(self, index: int, obs: Array) -> list[int]:
        """Write the newest frame of an environment into its next slot; return the slots of overwritten transitions."""
        slot = self._heads[index] = (self._heads[index] + self._num_envs) % self.slots
        self._frame_counts[index] += 1
        removed = [slot]
        if self._positions[slot] >= 0:
            self._remove(slot)
        if self._stack > 1:
            # The stack of this slot would include the new frame.
            incomplete = (slot + (self._stack - 1) * self._num_envs) % self.slots
            removed.append(incomplete)
            if self._positions[incomplete] >= 0:
                self._remove(incomplete)
            self._ages[slot] = min(self._current_ages[index], self._stack - 1)
            obs = obs[-self._frames.shape[1] :]
        if self._writable is not None:
            self._writable[slot] = obs
        else:
            self._frames[slot] = self._on_device(torch.from_numpy(obs))
        if self._written < self.slots:
            self._written = max(self._written, (slot // self._num_envs + 1) * self._num_envs)
        return removed

    def _remove(self, slot: int) -> None:
        """Stop sampling the transition that starts at `slot`; the last of the list takes its position."""
        position = self._positions[slot]
        self._count -= 1
        last = self._starts[self._count]
        self._starts[position], self._positions[last] = last, position
        self._positions[slot] = -1

    def _gather(self, slots: Slots) -> Tensor:
        """Return the frames (B, …) at `slots`, on the device of the frames."""
        if self._small is not None:
            self._rooms.reverse()
            if self._rooms[0][0].shape[0] != len(slots):
                self._rooms[0] = self._room_for(len(slots))
            frames, array = self._rooms[0]
            self._small.take(slots, 0, array, "clip")  # without "clip", numpy copies twice; all are in range
            return frames
        rows = torch.from_numpy(slots)
        return self._frames.index_select(0, rows if self._writable is not None else self._on_device(rows))

    def _room_for(self, count: int) -> tuple[Tensor, Array]:
        """Return memory for `count` frames, as a tensor and as an array.

        It is torch's memory, which is aligned to 64 bytes: the last bits of a product may depend on that.
        """
        room = self._frames.new_empty(count, *self._frames.shape[1:])
        return room, room.numpy()

    def _gather_stacks(self, slots: Slots) -> Tensor:
        """Return the stacked observations (B, …) at `slots`."""
        back = np.minimum(self._back, self._ages.take(slots)[:, np.newaxis])  # (B, frames)
        sources = (slots[:, np.newaxis] - back * self._num_envs) % self.slots
        return self._gather(sources.ravel()).view(len(slots), -1, *self._frames.shape[2:])

    def _on_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, non_blocking=True)
