"""Environments as data: what an agent learns from are the moves that it makes itself.

A split has no examples, only seeds: those of an evaluation are fixed, and none of them is ever trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from torch import Tensor

from dlpipe.compute import derived_seed
from dlpipe.errors import InputError
from dlpipe_rl.episodes import Array, Episodes
from dlpipe_rl.player_processes import PlayerProcesses
from dlpipe_rl.players import LocalPlayers, Players

#: The first seed of an evaluation's episodes.
EVALUATION_SEEDS = {"dev": 10_000, "test": 20_000}
#: Seeds of training lie above all those of evaluations, and below what the Arcade Learning Environment takes.
TRAINING_SEEDS = range(2**20, 2**31)


@dataclass(frozen=True)
class Split:
    """Episodes that can be played; there is no number of them."""

    name: str


class Environments:
    """An environment that can be made any number of times.

    Args:
        name: what a person calls it.
        make: makes one; with "rgb_array", one that can also be drawn, where that can be.
        frame_stack: an observation is so many of the last ones.
        fingerprint: of everything that decides what the environment does.
        for_training: what training puts around an environment and an evaluation does not.
        num_workers: processes that play in training; 0 plays in this one.
    """

    splits = ("train", "dev", "test")

    def __init__(
        self,
        name: str,
        make: Callable[..., gym.Env[Any, Any]],
        *,
        frame_stack: int = 1,
        fingerprint: str,
        for_training: Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]] | None = None,
        num_workers: int = 0,
    ) -> None:
        self.name, self.frame_stack = name, frame_stack
        self._make, self._fingerprint = make, fingerprint
        self._for_training, self._num_workers = for_training, num_workers

    def make(self, render_mode: Literal["rgb_array"] | None = None) -> gym.Env[Any, Any]:
        """Make one; its observations are a box of numbers with channels first.

        Raises:
            InputError: it cannot be made.
        """
        env = self._make(render_mode=render_mode)
        if not isinstance(env.observation_space, spaces.Box):
            env = gym.wrappers.FlattenObservation(env)
        shape = env.observation_space.shape
        assert shape is not None
        if len(shape) == 0 or (len(shape) == 3 and shape[0] not in (1, 3, 4) and shape[2] in (1, 3, 4)):
            env = ChannelsFirst(env)
        elif len(shape) == 2:
            env = gym.wrappers.ReshapeObservation(env, (1, *shape))
        return env

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What models, trainers and evaluators need to know.

        ``num_actions`` is 0 where actions are continuous, and ``action_shape`` empty where they are discrete.
        """
        env = self.make()
        obs, action = env.observation_space, env.action_space
        assert obs.shape is not None
        assert obs.dtype is not None
        discrete = isinstance(action, spaces.Discrete)
        if not discrete and not isinstance(action, spaces.Box):
            raise InputError(
                f"[data] environment {self.name} has actions {action}; expected Discrete or Box, as one agent makes "
                "one move at a time"
            )
        spec = env.spec
        facts = {
            "obs_shape": (self.frame_stack * obs.shape[0], *obs.shape[1:]),
            "obs_dtype": obs.dtype.name,
            "num_actions": int(action.n) if isinstance(action, spaces.Discrete) else 0,
            "action_shape": () if discrete else tuple(action.shape or ()),
            "reward_range": getattr(env.unwrapped, "reward_range", None),
            "reward_threshold": spec.reward_threshold if spec else getattr(env.unwrapped, "reward_threshold", None),
            "time_limit": _time_limit(env),
        }
        env.close()
        return facts

    def split(self, name: str) -> Split:
        """Return a split by its name; it has no length."""
        return Split(name)

    def training_players(self, count: int, seed: int) -> Players:
        """Return players of which no two play the same episode, nor one that an evaluation plays."""
        make = partial(self._trained_on, seed)
        return PlayerProcesses(make, count, self._num_workers) if self._num_workers else make(range(count))

    def evaluation_players(self, count: int, split: str) -> list[Players]:
        """Return single players, the first of which plays the first seed of a split, and so on."""
        first = EVALUATION_SEEDS[split]
        return [self.player(first + number) for number in range(count)]

    def player(self, seed: int) -> Players:
        """Return a single player that plays the episode of `seed`, again and again."""
        return LocalPlayers([Episodes(self.make(), self.name, lambda number: seed)], frame_stack=self.frame_stack)

    def _trained_on(self, seed: int, players: Sequence[int]) -> LocalPlayers:
        change = self._for_training or (lambda env: env)
        envs = [Episodes(change(self.make()), self.name, partial(_training_seed, seed, player)) for player in players]
        return LocalPlayers(envs, frame_stack=self.frame_stack)

    def caveats(self) -> list[str]:
        """Say why a resumed run may differ, trying whether an episode can be played twice."""
        played = [self._try_out() for _ in range(2)]
        if all(np.array_equal(one, other) for one, other in zip(*played, strict=True)):
            return []
        return [
            f"environment {self.name} does not repeat itself: two episodes with the same seed and the same actions "
            "differ, so a resumed run goes on, but not as if it had not been stopped"
        ]

    def _try_out(self, timesteps: int = 20) -> list[Array]:
        env = Episodes(self.make(), self.name, lambda number: TRAINING_SEEDS[number])
        space = env.env.action_space
        space.seed(0)
        seen = [env.begin()]
        for _ in range(timesteps):
            action = int(space.sample() - space.start) if isinstance(space, spaces.Discrete) else space.sample()
            obs, reward, terminated, truncated = env.step(action)
            seen += [obs.copy(), np.array(reward)]
            if terminated or truncated:
                seen.append(env.begin().copy())
        env.env.close()
        return seen

    def encode(self, item: str) -> dict[str, Tensor]:
        """Refuse: an agent is shown an environment, not an item."""
        raise InputError(f"{item!r}: an agent plays {self.name}, and takes no items; leave them out")

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        """Return the number of an action."""
        return {"action": prediction.tolist()}

    def state(self) -> dict[str, Any]:
        """Return nothing: an environment tells all facts by itself."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over nothing; see `state`."""

    def fingerprint(self) -> str:
        """Return what decides the behaviour of the environment."""
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


def _training_seed(seed: int, player: int, number: int) -> int:
    return TRAINING_SEEDS[derived_seed(seed, "episode", player, number) % len(TRAINING_SEEDS)]


def _time_limit(env: gym.Env[Any, Any]) -> int | None:
    """Return after how many timesteps an episode ends at the latest; None if nothing says so."""
    limits = [env.unwrapped.__dict__.get("time_limit")]
    while isinstance(env, gym.Wrapper):
        limits.append(env._max_episode_steps if isinstance(env, gym.wrappers.TimeLimit) else None)
        env = env.env
    return min((limit for limit in limits if limit is not None), default=None)
