"""The training loop of DQN and SAC: collect transitions into a replay buffer, and update from samples of it.

Axes: N environments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.protocols import Goal
from dlpipe.training import Budget, LearningRateSchedule, StateBlock
from dlpipe_rl.checked_env import Array, Episode
from dlpipe_rl.environments import Environments
from dlpipe_rl.episode_metrics import WEIGHTS, episode_means
from dlpipe_rl.randomness import torch_generator
from dlpipe_rl.replay_buffer import ReplayBuffer
from dlpipe_rl.running_normalization import normalizations
from dlpipe_rl.timesteps import steps_for


class OffPolicy(ABC):
    """Collect transitions, update from a sample of all that are kept, repeat.

    A step is `train_every` timesteps of every environment and then `gradient_steps` updates. The first step is
    longer: it fills the replay buffer with `learning_starts` timesteps of all environments together before its
    updates. Every step, the first included, makes the same number of updates.

    A trainer that inherits from it sets ``_schedule``, the schedule of its learning rate, which counts steps.

    Args:
        num_envs: N.
        replay_size: capacity of the replay buffer, in transitions.
        replay_storage: of its frames, see `ReplayBuffer`.
        n_step: number of rewards that are summed before the value estimate is added.
        gamma: discount factor γ.
        batch_size: transitions per update.
        timesteps: training ends after exactly this many timesteps of all environments together: `learning_starts`,
            and a multiple of N · `train_every`.
        learning_starts: timesteps of all environments together before the first update.
        train_every: timesteps of every environment per step.
        gradient_steps: updates per step.

    Raises:
        InputError: the replay buffer is too small, or no number of steps makes exactly `timesteps`.
    """

    metric_weights = WEIGHTS
    _schedule: LearningRateSchedule
    _timestep = 0
    _obs: Array | None = None  # the current observations; None before the first step
    _shown: tuple[Array | None, Tensor] = None, torch.empty(0)  # the last observations acted on, also as a tensor

    def __init__(
        self,
        model: nn.Module,
        data: Environments,
        compute: Compute,
        seed: int,
        budget: Budget,
        *,
        num_envs: int,
        replay_size: int,
        replay_storage: Literal["auto", "memory", "disk"],
        n_step: int = 1,
        gamma: float,
        batch_size: int,
        timesteps: int | None,
        learning_starts: int,
        train_every: int,
        gradient_steps: int,
    ) -> None:
        _require_replay(batch_size, replay_size, num_envs)
        self.model, self._compute, self.steps_per_epoch = model, compute, None
        self._is_cpu = compute.device.type == "cpu"
        self._data, self._envs = data, data.training_envs(num_envs, seed)
        facts, stack = data.facts, data.frame_stack
        self._replay = ReplayBuffer(
            replay_size,
            num_envs,
            (facts["obs_shape"][0] // stack, *facts["obs_shape"][1:]),
            getattr(torch, facts["obs_dtype"]),
            action_shape=facts["action_shape"],
            frame_stack=stack,
            n_step=n_step,
            gamma=gamma,
            storage=replay_storage,
            compute=compute,
        )
        self.notes = [self._replay.description]
        self._normalizations = normalizations(model)
        self._batch_size, self._train_every, self._gradient_steps = batch_size, train_every, gradient_steps
        self._learning_starts = -(-learning_starts // num_envs) * num_envs
        self._replay_rng = torch_generator(seed, "replay")
        each = train_every * num_envs
        first = max(self._learning_starts, each)
        why = f"learning_starts = {learning_starts}, num_envs = {num_envs}, train_every = {train_every}"
        self.total_steps = None if timesteps is None else steps_for(timesteps, first=first, each=each, why=why)
        #: The steps and timesteps of the run, whatever ends it; None if only time does.
        self._planned_steps = budget.total_steps(None, self.total_steps)
        self._timesteps = None if self._planned_steps is None else first + (self._planned_steps - 1) * each

    @property
    def caveats(self) -> list[str]:
        """Why a resumed run may differ."""
        return self._data.caveats()

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Yield the metrics of each step, with mean ``return`` and ``length`` of the ``episodes`` that ended."""
        if self._obs is None:
            self._obs = self._envs.reset()
            self._replay.start(self._obs)
        while True:
            if not self.model.training:  # the caller may have evaluated since
                self.model.train()
            episodes: list[Episode] = []
            for _ in range(self._train_every):
                episodes += self._step_envs()
            while self._timestep < self._learning_starts:  # only in the first step
                episodes += self._step_envs()
            metrics = self._update()
            if self._gradient_steps > 1:
                updates = [metrics, *(self._update() for _ in range(self._gradient_steps - 1))]
                metrics = {name: torch.stack([each[name] for each in updates]).mean() for name in metrics}
            self._schedule.step()
            yield metrics | episode_means(episodes) if episodes else metrics

    def log_values(self) -> dict[str, float]:
        """Return learning rate and number of timesteps."""
        return {"lr": self._schedule.learning_rate, "timesteps": float(self._timestep)}

    def on_score(self, score: float, goal: Goal) -> None:
        """Pass the monitored metric to the schedule."""
        self._schedule.on_score(score, goal)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of schedule, replay buffer, environments and sampling; frames are in `state_blocks`."""
        return {
            "schedule": self._schedule.state_dict(),
            "replay": self._replay.state_dict(),
            "envs": self._envs.state(),
            "replay_rng": self._replay_rng.get_state(),
            "timestep": self._timestep,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state; the current episodes are replayed."""
        self._schedule.load_state_dict(state["schedule"])
        self._replay.load_state_dict(state["replay"])
        self._obs = self._envs.restore(state["envs"])
        self._data.check_restored(self._envs, state["envs"])
        self._replay_rng.set_state(state["replay_rng"])
        self._timestep = state["timestep"]

    def state_blocks(self) -> dict[str, StateBlock]:
        """Return the frames of the replay buffer, in blocks that rarely change."""
        return self._replay.state_blocks()

    def load_state_blocks(self, blocks: Iterable[tuple[str, dict[str, Tensor]]]) -> None:
        """Restore the frames of the replay buffer."""
        self._replay.load_state_blocks(blocks)

    def close(self) -> None:
        """Close the environments and remove scratch files."""
        self._envs.close()
        self._replay.close()

    @abstractmethod
    def _actions(self, obs: Array) -> Sequence[int] | Array:
        """Return N actions, with exploration, as the replay buffer stores them."""

    def _in_environment(self, actions: Sequence[int] | Array) -> Sequence[int] | Array:
        """Return N actions as the environments take them."""
        return actions

    @abstractmethod
    def _update(self) -> dict[str, Tensor]:
        """Update the weights once from a batch, and return the metrics."""

    def _stored(self, added: Sequence[int], removed: Sequence[int]) -> None:  # noqa: B027  most need not know
        """Take note of the slots of new transitions, and of those that were overwritten."""

    def _step_envs(self) -> Iterable[Episode]:
        """Take one action in every environment, store the transitions, and return the episodes that ended."""
        assert self._obs is not None
        for normalization in self._normalizations:
            normalization.update(self._on_device(self._obs))
        actions = self._actions(self._obs)
        result = self._envs.step(self._in_environment(actions))
        self._obs = result.obs
        added, removed = self._replay.add(actions, result.rewards, result.terminated, result.obs, result.final_obs)
        self._stored(added, removed)
        self._timestep += len(added)
        return result.episodes.values()

    def _on_device(self, obs: Array) -> Tensor:
        """Return observations as a tensor; that of a buffer which the environments keep is created once."""
        if obs is not self._shown[0]:
            self._shown = obs, torch.from_numpy(obs)
        return self._shown[1] if self._is_cpu else self._shown[1].to(self._compute.device, non_blocking=True)


def _require_replay(batch_size: int, replay_size: int, num_envs: int) -> None:
    """Raise InputError if the replay buffer is too small."""
    if replay_size <= num_envs:
        raise InputError(
            f"replay_size = {replay_size}: expected more than num_envs = {num_envs}, since the end of an episode takes "
            "the place of one transition"
        )
    if batch_size > replay_size:
        raise InputError(f"batch_size = {batch_size}: expected at most replay_size = {replay_size}")
