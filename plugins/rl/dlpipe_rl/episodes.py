"""One environment, episode after episode, each begun from a seed of its own.

As every episode follows from its seed and the actions taken in it, an environment needs no snapshot to be
restored: the episode is begun from the same seed and played again with the same actions. That works for any
environment that is repeatable, with whatever wrappers and whatever state it hides, and nothing is unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dlpipe.errors import DlpipeError

Array = NDArray[Any]
#: An episode of so many timesteps is taken for one that will never end (the longest of Atari has 27,000).
ENDLESS = 1_000_000
#: So many numbers are checked one by one.
SMALL = 16


class MisbehavedError(DlpipeError):
    """An environment that raised, or returned what its spaces do not hold."""


@dataclass(frozen=True)
class Episode:
    """An episode that has ended.

    Args:
        total: sum of its rewards, not discounted.
        length: its timesteps.
    """

    seed: int
    total: float
    length: int
    terminated: bool


class Episodes:
    """Plays one environment and checks all that it returns.

    Args:
        env: with a box of numbers as observations.
        name: of the environment, for messages.
        seed_of: the seed of each episode, counted from 0.

    Attributes:
        number: of the current episode; -1 before the first.
        actions: those taken in the current episode.
    """

    def __init__(self, env: gym.Env[Any, Any], name: str, seed_of: Callable[[int], int]) -> None:
        self.env, self._name, self._seed_of = env, name, seed_of
        self.number, self.actions = -1, list[Any]()
        self._total = 0.0
        space = env.observation_space
        assert isinstance(space, spaces.Box)
        self._shape, self._dtype = space.shape, space.dtype
        actions = env.action_space
        self._inner: Callable[[Any], Any]
        if isinstance(actions, spaces.Discrete):
            start = int(actions.start)
            self._inner = lambda action: int(action) + start
        else:
            assert isinstance(actions, spaces.Box)
            low, high = actions.low, actions.high
            self._inner = lambda action: np.clip(action, low, high, dtype=low.dtype)
        # Finite bounds make NaN and infinity fail the same two comparisons.
        limits = np.finfo(space.dtype) if np.issubdtype(space.dtype, np.floating) else np.iinfo(space.dtype)
        self._low, self._high = np.maximum(space.low, limits.min), np.minimum(space.high, limits.max)
        # Of few numbers, each by itself: a dozen calls of numpy would take longer than most small environments.
        self._limits = list(zip(self._low.tolist(), self._high.tolist(), strict=True)) if self._is_small() else []
        self._unbounded = space.dtype == np.uint8 and not space.low.any() and bool((space.high == 255).all())

    @property
    def seed(self) -> int:
        """The seed of the current episode."""
        return self._seed_of(self.number)

    def begin(self, number: int | None = None) -> Array:
        """Begin the next episode, or episode `number`, and return its first observation."""
        self.number = self.number + 1 if number is None else number
        self.actions, self._total = [], 0.0
        try:
            obs, _ = self.env.reset(seed=self.seed)
        except Exception as error:  # whatever it raises is the environment's fault
            raise self._misbehaved("reset", f"raised {type(error).__name__}: {error}") from error
        return self._checked(obs, "reset")

    def step(self, action: Any) -> tuple[Array, float, bool, bool]:
        """Make a move; return the observation, the reward, and whether the episode terminated or was truncated.

        Args:
            action: the number of a discrete one, counted from 0; where actions are continuous, an array, which is
                clipped to what the environment takes.

        Raises:
            MisbehavedError: the environment raised, or returned what its spaces do not hold.
        """
        self.actions.append(action)
        if len(self.actions) > ENDLESS:
            raise MisbehavedError(
                f"environment {self._name} has not ended an episode after {ENDLESS:,} timesteps (seed {self.seed}); "
                "cut its episodes off: [data] max_episode_steps = 1000"
            )
        try:
            obs, reward, terminated, truncated, _ = self.env.step(self._inner(action))
        except Exception as error:  # whatever it raises is the environment's fault
            raise self._misbehaved("step", f"raised {type(error).__name__}: {error}") from error
        reward = float(reward)
        if not math.isfinite(reward):
            raise self._misbehaved("step", f"returned the reward {reward}; expected a finite number")
        self._total += reward
        return self._checked(obs, "step"), reward, bool(terminated), bool(truncated)

    def ended(self, terminated: bool) -> Episode:
        """Return what the current episode came to."""
        return Episode(self.seed, self._total, len(self.actions), terminated)

    def _checked(self, obs: Any, method: str) -> Array:
        if not isinstance(obs, np.ndarray) or obs.shape != self._shape or obs.dtype != self._dtype:
            found = f"{obs.dtype} of shape {obs.shape}" if isinstance(obs, np.ndarray) else type(obs).__name__
            raise self._misbehaved(
                method, f"returned an observation that is {found}; its space says {self._dtype} of shape {self._shape}"
            )
        if not self._holds(obs):
            place = tuple(np.argwhere(~((obs >= self._low) & (obs <= self._high)))[0].tolist())
            raise self._misbehaved(
                method,
                f"returned an observation with {obs[place]} at {list(place)}, outside of its space "
                f"({self._low[place]:g} to {self._high[place]:g})",
            )
        return obs

    def _holds(self, obs: Array) -> bool:
        """Say whether all numbers are within the bounds of the space."""
        if self._unbounded:
            return True
        if not self._limits:
            return bool(((obs >= self._low) & (obs <= self._high)).all())
        for value, (low, high) in zip(obs.tolist(), self._limits, strict=True):  # noqa: SIM110  faster than all()
            if not low <= value <= high:
                return False
        return True

    def _is_small(self) -> bool:
        return len(self._shape) == 1 and self._shape[0] <= SMALL

    def _misbehaved(self, method: str, what: str) -> MisbehavedError:
        place = f"at timestep {len(self.actions)} of the episode with seed {self.seed}"
        return MisbehavedError(
            f"environment {self._name} {what} in {method}(), {place}; repair the environment, then go on from the "
            "last checkpoint: dlpipe resume RUN"
        )
