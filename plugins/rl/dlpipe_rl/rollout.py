"""Transitions collected with the current policy, for one update.

Axes: T timesteps, N environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe_rl.action_heads import ActionHead
from dlpipe_rl.checked_env import Array, Episode
from dlpipe_rl.vector_env import StepResult, VectorEnv


@dataclass(frozen=True)
class Rollout:
    """T timesteps of N environments.

    Args:
        obs: (T, N, …) the observation before each step.
        actions: (T, N, …).
        log_probs: (T, N) of the actions, under the policy that took them.
        values: (T, N) of `obs`; zeros if the model has no value function.
        next_values: (T, N) of the observation after each step: 0 if the episode terminated, and the value of its
            final observation if it was truncated.
        rewards: (T, N).
        dones: (T, N) whether the episode ended with this step, by termination or truncation.
        mask: (T, N) whether the step is used for the update; on the CPU.
        episodes: that ended in the rollout.
    """

    obs: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    next_values: Tensor
    rewards: Tensor
    dones: Tensor
    mask: Tensor
    episodes: tuple[Episode, ...]


class RolloutCollector:
    """Steps the environments with actions that are sampled from the policy.

    Args:
        model: with a `dlpipe_rl.action_heads.ActionHead` as ``head``.
        seed: of the sampled actions.
    """

    def __init__(self, model: nn.Module, envs: VectorEnv, compute: Compute, seed: int) -> None:
        self._model, self._envs, self._compute = model, envs, compute
        self._action_rng = torch.Generator(compute.device).manual_seed(seed)
        self._has_value = hasattr(model, "value")
        self._obs: Array | None = None
        self.timestep = 0

    def collect_steps(self, count: int) -> Rollout:
        """Collect `count` steps of every environment, continuing its current episode."""
        if self._obs is None:
            self._obs = self._envs.reset()
        steps = _Steps()
        for _ in range(count):
            self._step(steps)
        episodes = [episode for result in steps.results for episode in result.episodes.values()]
        return self._rollout(steps, np.ones((count, len(self._envs)), bool), episodes)

    def collect_episodes(self) -> Rollout:
        """Collect one whole episode of every environment; further steps of those that end early are masked."""
        self._obs = self._envs.reset()
        steps = _Steps()
        finished = np.zeros(len(self._envs), bool)
        mask: list[Array] = []
        episodes: list[Episode] = []
        while not finished.all():
            mask.append(~finished)
            result = self._step(steps)
            episodes += [episode for index, episode in result.episodes.items() if not finished[index]]
            finished[list(result.final_obs)] = True
        return self._rollout(steps, np.stack(mask), episodes)

    def state_dict(self) -> dict[str, Any]:
        """Return all state that the next steps depend on, except the model."""
        begun = self._obs is not None
        return {
            "envs": self._envs.state() if begun else None,
            "action_rng": self._action_rng.get_state(),
            "timestep": self.timestep,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state."""
        self._obs = self._envs.restore(state["envs"]) if state["envs"] else None
        self._action_rng.set_state(state["action_rng"])
        self.timestep = state["timestep"]

    def _step(self, steps: _Steps) -> StepResult:
        """Sample one action for every environment, take it, and append the step to `steps`."""
        assert self._obs is not None
        obs = self._on_device(self._obs.copy())
        params, value = self._outputs(obs)
        head: ActionHead = self._model.head  # type: ignore[assignment]
        with torch.no_grad():
            actions = head.sample(params, self._action_rng)
            log_prob = head.log_prob(params, actions)
        result = self._envs.step(actions.cpu().numpy())
        self._obs = result.obs
        self.timestep += len(self._envs)
        final_value = value.new_zeros(len(value))  # of the final observations of truncated episodes
        if truncated := [index for index in result.final_obs if result.truncated[index]]:
            final_obs = self._on_device(np.stack([result.final_obs[index] for index in truncated]))
            final_value[self._on_device(np.array(truncated))] = self._outputs(final_obs)[1]
        for column, entry in zip(steps.tensors(), (obs, actions, log_prob, value, final_value), strict=True):
            column.append(entry)
        steps.results.append(result)
        return result

    def _outputs(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parameters of the action distribution, and the values (zeros if the model has none)."""
        with torch.no_grad(), self._compute.autocast():
            outputs = self._model(obs)
        if not self._has_value:
            return outputs.float(), torch.zeros(len(obs), device=obs.device)
        return outputs[0].float(), outputs[1].float()

    def _rollout(self, steps: _Steps, mask: Array, episodes: Sequence[Episode]) -> Rollout:
        assert self._obs is not None
        obs, actions, log_probs, values, final_values = (torch.stack(column) for column in steps.tensors())
        ended = np.zeros(mask.shape, bool)
        for timestep, result in enumerate(steps.results):
            ended[timestep, list(result.final_obs)] = True
        dones = self._on_device(ended)
        last = self._outputs(self._on_device(self._obs.copy()))[1]
        next_values = torch.where(dones, final_values, torch.cat([values[1:], last.unsqueeze(0)]))
        rewards = self._on_device(np.array([result.rewards for result in steps.results], np.float32))
        used = torch.from_numpy(mask)
        return Rollout(obs, actions, log_probs, values, next_values, rewards, dones, used, tuple(episodes))

    def _on_device(self, values: Array) -> Tensor:
        """Copy to the device without waiting for what it still computes."""
        return torch.from_numpy(values).to(self._compute.device, non_blocking=True)


@dataclass
class _Steps:
    """The columns of a rollout while it is collected, one entry per timestep."""

    obs: list[Tensor] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)
    log_probs: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    final_values: list[Tensor] = field(default_factory=list)
    results: list[StepResult] = field(default_factory=list)

    def tensors(self) -> tuple[list[Tensor], ...]:
        """Return the columns of tensors."""
        return self.obs, self.actions, self.log_probs, self.values, self.final_values
