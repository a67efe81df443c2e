"""Environments as data: an agent learns from the transitions that it collects itself.

A split has no examples, only seeds. Those of an evaluation are fixed and never used for training.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, Protocol, SupportsFloat, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from dlpipe.compute import derived_seed
from dlpipe.errors import InputError
from dlpipe_rl.async_vector_env import AsyncVectorEnv
from dlpipe_rl.checked_env import Array, CheckedEnv, sample_action
from dlpipe_rl.vector_env import SyncVectorEnv, VectorEnv

#: The first seed of the episodes of each evaluation split.
EVALUATION_SEEDS = {"dev": 10_000, "test": 20_000}
#: Training seeds are above those of evaluations and within the range of the Arcade Learning Environment.
TRAINING_SEEDS = range(2**20, 2**31)
#: Timesteps that are played twice before training, to see whether an environment is repeatable.
REPEATED_TIMESTEPS = 100


@dataclass(frozen=True)
class Split:
    """Episodes that can be played; their number is unlimited."""

    name: str


class Environments:
    """A source of identical environments.

    Args:
        name: for messages.
        make: creates an environment; with ``render_mode="rgb_array"``, one that can be rendered, if possible.
        frame_stack: number of frames per observation.
        fingerprint: describes everything that determines the behavior of the environment.
        training_reward: maps the reward of a timestep to what training gets instead; None changes nothing.
        num_workers: processes that step the training environments; 0 steps them in the main process.
    """

    splits = ("train", "dev", "test")

    def __init__(
        self,
        name: str,
        make: Callable[..., gym.Env[Any, Any]],
        *,
        frame_stack: int = 1,
        fingerprint: str,
        training_reward: Callable[[SupportsFloat], float] | None = None,
        num_workers: int = 0,
    ) -> None:
        self.name, self.frame_stack, self.training_reward = name, frame_stack, training_reward
        self._make, self._fingerprint, self._num_workers = make, fingerprint, num_workers
        self._restored_differently = False

    def make(self, render_mode: Literal["rgb_array"] | None = None) -> gym.Env[Any, Any]:
        """Create an environment with a Box observation space, channels first.

        Three axes are an image. Its channels are the last axis if that is the shortest, and else the first.

        Raises:
            InputError: the environment cannot be created, its observations have no fixed size, or its actions are
                neither Discrete nor a Box.
        """
        env = self._make(render_mode=render_mode)
        if not isinstance(env.observation_space, spaces.Box):
            env = gym.wrappers.FlattenObservation(env)
        if not isinstance(env.observation_space, spaces.Box):
            raise InputError(
                f"environment {self.name} has the observation space {env.observation_space}; expected one whose "
                "samples all have the same size. Take another environment, or wrap it in a plugin of yours"
            )
        if not isinstance(env.action_space, (spaces.Discrete, spaces.Box)):
            raise InputError(
                f"environment {self.name} has the action space {env.action_space}; expected Discrete or Box, as one "
                "agent takes one action per timestep. Take another environment, or wrap it in a plugin of yours"
            )
        shape = env.observation_space.shape
        if len(shape) == 0 or (len(shape) == 3 and shape[2] < min(shape[:2])):
            env = ChannelsFirst(env)
        elif len(shape) == 2:
            env = gym.wrappers.ReshapeObservation(env, (1, *shape))
        return env

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """Facts for models, trainers and evaluators.

        ``num_actions`` is 0 if actions are continuous, and ``action_shape`` is empty if they are discrete;
        ``action_bounds`` are the least and the largest value of each component of a continuous action, in order, and
        are empty if one is not bounded.
        """
        env = self.make()
        obs, action = env.observation_space, env.action_space
        assert obs.shape is not None
        assert obs.dtype is not None
        spec = env.spec
        facts = {
            "obs_shape": (self.frame_stack * obs.shape[0], *obs.shape[1:]),
            "obs_dtype": obs.dtype.name,
            "num_actions": int(action.n) if isinstance(action, spaces.Discrete) else 0,
            "action_shape": () if isinstance(action, spaces.Discrete) else tuple(action.shape or ()),
            "action_bounds": _action_bounds(action),
            "reward_range": getattr(env.unwrapped, "reward_range", None),
            "reward_threshold": spec.reward_threshold if spec else getattr(env.unwrapped, "reward_threshold", None),
            "time_limit": _time_limit(env),
        }
        env.close()
        return facts

    def split(self, name: str) -> Split:
        """Return a split by its name; it has no length."""
        return Split(name)

    def training_envs(self, count: int, seed: int) -> VectorEnv:
        """Return environments for training; no two play the same episode, and none plays one of an evaluation."""
        make = partial(self._make_training_envs, seed)
        return AsyncVectorEnv(make, count, self._num_workers) if self._num_workers else make(range(count))

    def evaluation_envs(self, count: int, split: str) -> list[VectorEnv]:
        """Return single environments; the first one plays the first seed of the split, and so on."""
        first = EVALUATION_SEEDS[split]
        return [self.single_env(first + number) for number in range(count)]

    def single_env(self, seed: int) -> VectorEnv:
        """Return a single environment that plays the episode of `seed` repeatedly."""
        return SyncVectorEnv([CheckedEnv(self.make(), self.name, lambda number: seed)], frame_stack=self.frame_stack)

    def example_inputs(self, split: str, count: int) -> dict[str, Tensor]:
        """Return ``obs`` (B, *obs_shape) of B timesteps with random actions, from the first episode of a split."""
        env, spare = self.single_env(EVALUATION_SEEDS[split]), self.make()
        spare.action_space.seed(EVALUATION_SEEDS[split])
        obs = [torch.from_numpy(env.reset().copy())]
        while len(obs) < count:
            obs.append(torch.from_numpy(env.step([sample_action(spare.action_space)]).obs.copy()))
        for each in (env, spare):
            each.close()
        return {"obs": torch.cat(obs)}

    def _make_training_envs(self, seed: int, indices: Sequence[int]) -> SyncVectorEnv:
        envs = [CheckedEnv(self._training_env(), self.name, partial(_training_seed, seed, index)) for index in indices]
        return SyncVectorEnv(envs, frame_stack=self.frame_stack)

    def _training_env(self) -> gym.Env[Any, Any]:
        env = self.make()
        return env if self.training_reward is None else gym.wrappers.TransformReward(env, self.training_reward)

    def caveats(self) -> list[str]:
        """Say whether rewards are not the environment's own, and whether an episode cannot be repeated.

        The latter may be known only after `check_restored`.
        """
        found = []
        if wrapper := self._reward_wrapper:
            found.append(
                f"environment {self.name}: {wrapper} changes the rewards, and evaluations count the changed ones, "
                "which cannot be compared with published returns"
            )
        if self._restored_differently or not self._is_repeatable:
            found.append(
                f"environment {self.name} is not repeatable: two episodes with the same seed and the same actions "
                "differ, so a resumed run continues, but not exactly as it would have without the interruption"
            )
        return found

    def check_restored(self, envs: VectorEnv, state: Mapping[str, Any]) -> None:
        """Warn if environments are not in the state that they were restored from, and count it among the caveats."""
        restored = envs.state()
        if restored["episodes"] != state["episodes"] or not torch.equal(restored["obs"], state["obs"]):
            self._restored_differently = True
            warnings.warn(
                f"environment {self.name} is not repeatable: replayed with the same seed and the same actions, an "
                "episode differs from before; the run continues, but not exactly as it would have without the "
                "interruption",
                stacklevel=3,
            )

    @cached_property
    def _reward_wrapper(self) -> str:
        """The name of a wrapper that changes the rewards, or an empty string."""
        env = self.make()
        env.close()
        while isinstance(env, gym.Wrapper):
            if isinstance(env, gym.RewardWrapper):
                return type(env).__name__
            env = env.env
        return ""

    @cached_property
    def _is_repeatable(self) -> bool:
        """Whether an environment that has played another episode before repeats one of a new environment."""
        new, used = self._sample_episodes(0), self._sample_episodes(1, 0)
        return len(new) == len(used) and all(map(np.array_equal, new, used))

    def _sample_episodes(self, *numbers: int) -> list[Array]:
        """Play random actions from each of these episodes on, and return what was observed from the last of them on."""
        env = CheckedEnv(self.make(), self.name, lambda number: TRAINING_SEEDS[number])
        space, observed = env.env.action_space, list[Array]()
        with env.env:
            for number in numbers:
                space.seed(0)
                observed = [env.reset(number).copy()]
                for _ in range(REPEATED_TIMESTEPS):
                    obs, reward, terminated, truncated = env.step(sample_action(space))
                    observed += [obs.copy(), np.array(reward), np.array([terminated, truncated])]
                    if terminated or truncated:
                        observed.append(env.reset().copy())
        return observed

    def encode(self, item: str) -> dict[str, Tensor]:
        """Raise InputError: an agent acts in an environment and takes no items."""
        raise InputError(f"{item!r}: an agent acts in {self.name} and takes no items; leave them out")

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        """Return the number of an action."""
        return {"action": prediction.tolist()}

    def state(self) -> dict[str, Any]:
        """Return an empty state: all facts come from the environment itself."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore nothing; see `state`."""

    def fingerprint(self) -> str:
        """Return a description of everything that determines the behavior of the environment."""
        return self._fingerprint


class ChannelsFirst(gym.ObservationWrapper[Any, Any, Any]):
    """Images (H, W, C) as (C, H, W), and single numbers as (1,)."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        space = env.observation_space
        assert isinstance(space, spaces.Box)
        self.observation_space = spaces.Box(
            self.observation(space.low), self.observation(space.high), dtype=space.dtype.type
        )

    def observation(self, observation: Array) -> Array:
        """Move the channels to the front."""
        return np.atleast_1d(observation.T.swapaxes(1, 2) if observation.ndim == 3 else observation)


def _training_seed(seed: int, index: int, number: int) -> int:
    return TRAINING_SEEDS[derived_seed(seed, "episode", index, number) % len(TRAINING_SEEDS)]


@runtime_checkable
class SupportsMake(Protocol):
    """Data of another plugin that makes environments: all that trainers and evaluators of this one need of it."""

    def make(self, *, render_mode: str | None = None) -> gym.Env[Any, Any]:
        """Return a new environment; with ``render_mode="rgb_array"``, one that can be rendered, if possible."""

    def fingerprint(self) -> str:
        """Return a string that changes if the behavior of the environment does."""


def require_environments(data: object, who: str) -> Environments:
    """Return the environments of `data`.

    Raises:
        InputError: it makes none; the message names `who` needs them.
    """
    if isinstance(data, Environments):
        return data
    if isinstance(data, SupportsMake):
        return Environments(type(data).__name__, data.make, fingerprint=data.fingerprint())
    raise InputError(
        f"{who} needs environments, such as rl.environment, or data of yours with a method make(); the data is "
        f"{type(data).__name__}"
    )


def _action_bounds(space: spaces.Space[Any]) -> tuple[tuple[float, float], ...]:
    """Return the bounds of each component of a continuous action, or nothing if there are none."""
    if not (isinstance(space, spaces.Box) and space.is_bounded()):
        return ()
    return tuple(zip(space.low.ravel().astype(float).tolist(), space.high.ravel().astype(float).tolist(), strict=True))


def _time_limit(env: gym.Env[Any, Any]) -> int | None:
    """Return the maximum number of timesteps of an episode, or None if it is not limited."""
    limits = [env.unwrapped.__dict__.get("time_limit")]
    while isinstance(env, gym.Wrapper):
        limits.append(env._max_episode_steps if isinstance(env, gym.wrappers.TimeLimit) else None)
        env = env.env
    return min((limit for limit in limits if limit is not None), default=None)
