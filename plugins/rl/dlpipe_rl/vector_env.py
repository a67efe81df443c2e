"""N copies of an environment that are stepped together, and what a step returns.

When an episode ends, the environment is reset in the same step (Gymnasium's ``SAME_STEP`` autoreset), so every
step is a transition of every environment. The final observation of the ended episode is returned separately,
because its value has to be estimated if the episode was truncated.
Axes: N environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from dlpipe_rl.checked_env import Array, CheckedEnv, Episode, FaultyEnvironmentError


class StepResult(NamedTuple):
    """The result of one step of N environments.

    Args:
        obs: (N, …) the observations after the step; if an episode ended, the first observation of the next one.
            This may be the environments' own buffer, which the next step overwrites: copy what you keep.
        rewards: N rewards.
        terminated: N flags: the episode reached a terminal state, which has no future reward.
        truncated: N flags: the episode was stopped from outside, such as by a time limit.
        final_obs: by environment, a copy of the last observation of an episode that ended in this step.
        episodes: by environment, the summary of that episode.
    """

    obs: Array
    rewards: list[float]
    terminated: list[bool]
    truncated: list[bool]
    final_obs: dict[int, Array]
    episodes: dict[int, Episode]


class VectorEnv(Protocol):
    """What trainers and evaluators expect: N environments, in this process or in several."""

    def __len__(self) -> int: ...

    def reset(self) -> Array:
        """Begin a new episode in every environment and return the observations (N, …); later calls overwrite them."""

    def step(self, actions: Sequence[Any] | Array) -> StepResult:
        """Take one action in every environment."""

    def state(self) -> dict[str, Any]:
        """Return the state that `restore` takes."""

    def restore(self, state: Mapping[str, Any]) -> Array:
        """Restore a state by replaying it, and return the current observations (N, …).

        An environment that is not repeatable is then in another state: in its next episode if the current one ends
        early, or if replaying it raises.
        """

    def close(self) -> None:
        """Release the resources of the environments."""


class SyncVectorEnv:
    """N environments in this process, stepped one after the other.

    Args:
        envs: the environments.
        frame_stack: an observation consists of this many latest frames, oldest first, concatenated along their
            first axis; at the beginning of an episode, all of them are the first frame.
    """

    def __init__(self, envs: Sequence[CheckedEnv], *, frame_stack: int = 1) -> None:
        self._envs = envs
        shape = envs[0].env.observation_space.shape
        assert shape is not None
        self._size, self._frame_stack = shape[0], frame_stack
        self._obs = np.zeros((len(envs), frame_stack * shape[0], *shape[1:]), envs[0].env.observation_space.dtype)

    def __len__(self) -> int:
        return len(self._envs)

    def reset(self) -> Array:
        """See `VectorEnv.reset`."""
        for index, env in enumerate(self._envs):
            self._fill(index, env.reset())
        return self._obs

    def step(self, actions: Sequence[Any] | Array) -> StepResult:
        """See `VectorEnv.step`."""
        rewards: list[float] = []
        ended: list[bool] = []
        cut: list[bool] = []
        final_obs: dict[int, Array] = {}
        episodes: dict[int, Episode] = {}
        for index, env in enumerate(self._envs):
            frame, reward, terminated, truncated = env.step(actions[index])
            self._push(index, frame)
            rewards.append(reward)
            ended.append(terminated)
            cut.append(truncated and not terminated)
            if terminated or truncated:
                final_obs[index] = self._obs[index].copy()
                episodes[index] = env.summary(terminated)
                self._fill(index, env.reset())
        return StepResult(self._obs, rewards, ended, cut, final_obs, episodes)

    def state(self) -> dict[str, Any]:
        """Return episode number and actions of every environment, and the observations to compare with."""
        return {
            "episodes": [env.number for env in self._envs],
            "actions": [torch.from_numpy(np.array(env.actions)) for env in self._envs],
            "obs": torch.from_numpy(self._obs.copy()),
        }

    def restore(self, state: Mapping[str, Any]) -> Array:
        """Replay the current episode of every environment; see `VectorEnv.restore`."""
        for index, env in enumerate(self._envs):
            self._fill(index, env.reset(state["episodes"][index]))
            if not self._replay(index, state["actions"][index].numpy()):
                self._fill(index, env.reset())
        return self._obs

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            env.env.close()

    def _replay(self, index: int, actions: Array) -> bool:
        """Take actions in one environment; return whether its episode continues after them, as it did before."""
        for action in actions:
            try:
                frame, _, terminated, truncated = self._envs[index].step(action)
            except FaultyEnvironmentError:
                return False
            if terminated or truncated:
                return False
            self._push(index, frame)
        return True

    def _fill(self, index: int, frame: Array) -> None:
        """Set the observation of one environment to copies of the first frame of an episode."""
        if self._frame_stack == 1:
            self._obs[index] = frame
        else:
            self._obs[index] = np.concatenate([frame] * self._frame_stack)

    def _push(self, index: int, frame: Array) -> None:
        """Append a frame to the observation of one environment and drop the oldest."""
        if self._frame_stack == 1:
            self._obs[index] = frame
        else:
            obs = self._obs[index]
            obs[: -self._size] = obs[self._size :].copy()
            obs[-self._size :] = frame
