"""Replay buffer of past transitions.

Every frame is stored once, as the environment returned it: frame stacks, next observations and n-step returns are
assembled when a transition is sampled. An episode of T steps takes T + 1 slots, because its final observation is
stored too. No transition starts at that slot, which is also how the end of an episode is recognised.

Axes: N environments, C slots of each, B transitions of a batch. Slot t of environment n has the number t N + n.
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
from dlpipe_rl.checked_env import Array
from dlpipe_rl.frame_storage import FrameStorage

#: Frames are saved in blocks of about this many bytes; a checkpoint writes only the blocks that changed.
BLOCK_BYTES = 32_000_000


@dataclass(slots=True)
class Transitions:
    """A batch of transitions.

    Args:
        slots: (B,) where each is stored.
        obs: (B, …).
        actions: (B,) int64.
        returns: (B,) discounted sum of the next n rewards, or of fewer if the episode ended.
        discounts: (B,) factor of the value of `next_obs`; 0 if the episode terminated, but not if it was truncated.
        next_obs: (B, …) n steps later, or at the end of the episode.
    """

    slots: Tensor
    obs: Tensor
    actions: Tensor
    returns: Tensor
    discounts: Tensor
    next_obs: Tensor

    def to(self, device: torch.device) -> Transitions:
        """Return the batch on a device; `slots` stays where it is."""
        rest = (self.obs, self.actions, self.returns, self.discounts, self.next_obs)
        return Transitions(self.slots, *(tensor.to(device, non_blocking=True) for tensor in rest))


class ReplayBuffer:
    """A ring buffer of transitions for each environment.

    Args:
        size: capacity in transitions, of all environments together.
        num_envs: N.
        frame_shape: of one frame: an observation without the older frames of its stack.
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
        self._frames = frames.to(self._device) if compute.fits(self._storage.nbytes) else frames
        self._writable = self._frames.numpy() if self._frames.device.type == "cpu" else None
        self._num_envs, self._stack, self._n_step, self._gamma = num_envs, frame_stack, n_step, gamma
        self._columns = {
            "actions": torch.zeros(count, dtype=torch.int64),
            # The reward, and the discount of the value after the step: γ, or 0 if the episode terminated.
            "outcomes": torch.zeros(count, 2),
            "ages": torch.zeros(count, dtype=torch.uint8),  # frames since the episode began, at most the stack's
        }
        # The slots of the transitions that can be sampled, in no order; and the position of each slot there, or -1.
        self._starts, self._count = torch.zeros(count, dtype=torch.int64), 0
        self._positions = torch.full((count,), -1)
        # Views of the same memory: numpy writes single numbers faster, torch reads batches faster.
        columns = self._columns | {"starts": self._starts, "positions": self._positions}
        self._arrays = {name: column.numpy() for name, column in columns.items()}
        self._next_slots = (torch.arange(count) + num_envs) % count
        self._back = torch.arange(frame_stack - 1, -1, -1)
        self._per_block = max(1, BLOCK_BYTES // (self._storage.nbytes // count))
        self._heads = list(range(-num_envs, 0))  # the slot of the current frame of each environment
        self._frame_counts = [0] * num_envs  # frames of each environment so far
        self._ages = [0] * num_envs  # frames since its episode began
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
        actions: Sequence[int],
        rewards: Sequence[float],
        terminated: Sequence[bool],
        obs: Array,
        final_obs: Mapping[int, Array],
    ) -> tuple[list[int], list[int]]:
        """Store one transition of every environment; see `dlpipe_rl.vector_env.StepResult`.

        Returns:
            (N,) the slots of the new transitions, and the slots whose transitions were overwritten.
        """
        arrays, added, removed = self._arrays, self._heads.copy(), list[int]()
        # One number at a time: with one environment, which is usual here, vectorised numpy would be slower.
        for index, slot in enumerate(added):
            arrays["actions"][slot] = actions[index]
            arrays["outcomes"][slot, 0] = rewards[index]
            arrays["outcomes"][slot, 1] = 0.0 if terminated[index] else self._gamma
            self._make_sampleable(slot)
            self._ages[index] += 1
            if index in final_obs:
                removed += self._write_frame(index, final_obs[index])
                self._ages[index] = 0
            removed += self._write_frame(index, obs[index])
        return added, removed

    def sample(self, batch_size: int, rng: torch.Generator) -> Transitions:
        """Return transitions that are sampled uniformly."""
        rows = torch.randint(self._count, (batch_size,), generator=rng)
        return self.at(self._starts.index_select(0, rows))

    def at(self, slots: Tensor) -> Transitions:
        """Return the transitions at `slots` (B,)."""
        actions, outcomes = self._columns["actions"], self._columns["outcomes"]
        returns, discounts = outcomes.index_select(0, slots).unbind(1)
        end = self._next_slots.index_select(0, slots)
        for _ in range(self._n_step - 1):
            # A slot without a transition holds a final or a current observation: the sum ends there.
            continues = self._positions.index_select(0, end) >= 0
            rewards, factors = outcomes.index_select(0, end).unbind(1)
            returns = torch.where(continues, returns + discounts * rewards, returns)
            discounts = torch.where(continues, discounts * factors, discounts)
            end = torch.where(continues, self._next_slots.index_select(0, end), end)
        gather = self._gather if self._stack == 1 else self._gather_stacks
        batch = Transitions(slots, gather(slots), actions.index_select(0, slots), returns, discounts, gather(end))
        return batch if self._device.type == "cpu" else batch.to(self._device)

    def state_dict(self) -> dict[str, Any]:
        """Return all state except the frames, which are in `state_blocks`."""
        written, arrays = self._written, self._arrays
        # Slices of the arrays: of a slice of a tensor, torch would save the whole tensor.
        return {
            "heads": list(self._heads),
            "frame_counts": list(self._frame_counts),
            "current_ages": list(self._ages),
            "written": written,
            "starts": torch.from_numpy(arrays["starts"][: self._count]),
            **{name: torch.from_numpy(arrays[name][:written]) for name in self._columns},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state; `load_state_blocks` restores the frames."""
        written = self._written = state["written"]
        names = ("heads", "frame_counts", "current_ages")
        self._heads, self._frame_counts, self._ages = (list(state[name]) for name in names)
        for name, column in self._columns.items():
            column[:written] = state[name]
        starts = state["starts"]
        self._count = len(starts)
        self._starts[: self._count] = starts
        self._positions.fill_(-1)
        self._positions[starts] = torch.arange(self._count)

    def state_blocks(self) -> dict[str, StateBlock]:
        """Return the frames in blocks; the version of a block counts how often it was written to."""
        length, size = self._length, self._per_block
        rounds = (
            np.array(self._frame_counts) - np.arange(length)[:, np.newaxis] + length - 1
        ) // length  # (C, N) how often each slot was written to
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
        self._remove(slot)
        if self._stack > 1:
            # The stack of this slot would include the new frame.
            incomplete = (slot + (self._stack - 1) * self._num_envs) % self.slots
            removed.append(incomplete)
            self._remove(incomplete)
            self._arrays["ages"][slot] = min(self._ages[index], self._stack - 1)
            obs = obs[-self._frames.shape[1] :]
        if self._writable is not None:
            self._writable[slot] = obs
        else:
            self._frames[slot] = torch.from_numpy(obs).to(self._device, non_blocking=True)
        if self._written < self.slots:
            self._written = max(self._written, (slot // self._num_envs + 1) * self._num_envs)
        return removed

    def _make_sampleable(self, slot: int) -> None:
        """Let the transition that starts at `slot` be sampled."""
        self._arrays["starts"][self._count] = slot
        self._arrays["positions"][slot] = self._count
        self._count += 1

    def _remove(self, slot: int) -> None:
        """Stop sampling the transition that starts at `slot`; the last of the list takes its position."""
        starts, positions = self._arrays["starts"], self._arrays["positions"]
        position = positions[slot]
        if position < 0:
            return
        self._count -= 1
        last = starts[self._count]
        starts[position], positions[last] = last, position
        positions[slot] = -1

    def _gather(self, slots: Tensor) -> Tensor:
        """Return the frames (B, …) at `slots`, on the device of the frames."""
        rows = slots if self._writable is not None else slots.to(self._device, non_blocking=True)
        return self._frames.index_select(0, rows)

    def _gather_stacks(self, slots: Tensor) -> Tensor:
        """Return the stacked observations (B, …) at `slots`."""
        back = torch.minimum(self._back, self._columns["ages"].index_select(0, slots).unsqueeze(1))  # (B, frames)
        sources = (slots.unsqueeze(1) - back * self._num_envs) % self.slots
        return self._gather(sources.ravel()).view(len(slots), -1, *self._frames.shape[2:])
