"""One environment, episode after episode, with checks of everything it returns.

Each episode follows from its seed and its actions. To restore an environment, its current episode is therefore
reset with the same seed and replayed with the same actions; no snapshot is needed. This works for every repeatable
environment, whatever its wrappers and hidden state, and nothing is unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dlpipe.errors import DlpipeError, NonFiniteError

Array = NDArray[Any]
#: A longer episode is taken for one that never ends (the longest of Atari has 27,000 timesteps).
MAX_TIMESTEPS = 1_000_000
#: Observations of at most this many values are checked value by value.
SMALL = 16


class FaultyEnvironmentError(DlpipeError):
    """An environment raised, or returned something outside its spaces."""


class Episode(NamedTuple):
    """Summary of an episode that has ended.

    Args:
        seed: of the episode.
        total: undiscounted sum of its rewards.
        length: its number of timesteps.
        terminated: whether it ended by termination rather than truncation.
    """

    seed: int
    total: float
    length: int
    terminated: bool


class CheckedEnv:
    """An environment whose return values are checked.

    Args:
        env: with a Box observation space.
        name: of the environment, for messages.
        seed_of: maps the number of an episode, from 0, to its seed.

    Attributes:
        number: of the current episode; -1 before the first.
        actions: taken in the current episode.
    """

    def __init__(self, env: gym.Env[Any, Any], name: str, seed_of: Callable[[int], int]) -> None:
        self.env, self._name, self._seed_of = env, name, seed_of
        self.number, self.actions = -1, list[Any]()
        self._total = 0.0
        space = env.observation_space
        assert isinstance(space, spaces.Box)
        self._shape, self._dtype = space.shape, space.dtype
        actions = env.action_space
        self._to_env_action: Callable[[Any], Any]
        if isinstance(actions, spaces.Discrete):
            start = int(actions.start)
            self._to_env_action = (lambda action: int(action) + start) if start else int
        else:
            assert isinstance(actions, spaces.Box)
            low, high, dtype = actions.low, actions.high, actions.dtype
            if np.issubdtype(dtype, np.floating):
                self._to_env_action = lambda action: np.asarray(np.clip(self._finite(action), low, high, dtype=dtype))
            else:
                self._to_env_action = lambda action: np.asarray(
                    np.clip(np.rint(self._finite(action)), low, high)
                ).astype(dtype)
        self._low, self._high = space.low, space.high
        if np.issubdtype(space.dtype, np.floating):  # finite bounds make NaN and infinity fail the same comparisons
            limits = np.finfo(space.dtype)
            self._low, self._high = np.maximum(space.low, limits.min), np.minimum(space.high, limits.max)
        # Few values are compared in Python: a dozen numpy calls would take longer than a step of a small environment.
        self._limits = list(zip(self._low.tolist(), self._high.tolist(), strict=True)) if self._is_small() else []
        self._unbounded = space.dtype == np.uint8 and not space.low.any() and bool((space.high == 255).all())
        # Chosen once, since it is called in every timestep.
        self._holds = self._hold_small if self._limits else self._hold_large

    @property
    def seed(self) -> int:
        """The seed of the current episode."""
        return self._seed_of(self.number)

    def reset(self, number: int | None = None) -> Array:
        """Begin the next episode, or episode `number`, and return its first observation."""
        self.number = self.number + 1 if number is None else number
        self.actions, self._total = [], 0.0
        try:
            obs, _ = self.env.reset(seed=self.seed)
        except Exception as error:  # an environment's code may raise anything
            raise self._fault("reset", f"raised {type(error).__name__}: {error}") from error
        return self._checked(obs, "reset")

    def step(self, action: Any) -> tuple[Array, float, bool, bool]:
        """Take an action; return observation, reward, and whether the episode terminated or was truncated.

        Args:
            action: the index of a discrete action, from 0; or an array, which is clipped to the bounds of the
                action space, and rounded first if that has integers.

        Raises:
            FaultyEnvironmentError: the environment raised, or returned something outside its spaces.
            NonFiniteError: the action is not finite, so the policy has diverged.
        """
        self.actions.append(action)
        if len(self.actions) > MAX_TIMESTEPS:
            raise FaultyEnvironmentError(
                f"environment {self._name} has not ended an episode after {MAX_TIMESTEPS:,} timesteps (seed "
                f"{self.seed}); limit its episodes, such as with max_episode_steps = 1000 in the table of the data"
            )
        taken = self._to_env_action(action)
        try:
            obs, reward, terminated, truncated, _ = self.env.step(taken)
        except Exception as error:  # an environment's code may raise anything
            raise self._fault("step", f"raised {type(error).__name__}: {error}") from error
        try:
            reward = float(reward)
        except (TypeError, ValueError) as error:
            raise self._fault("step", f"returned the reward {reward!r}; expected a number") from error
        if not math.isfinite(reward):
            raise self._fault("step", f"returned the reward {reward}; expected a finite number")
        self._total += reward
        return self._checked(obs, "step"), reward, bool(terminated), bool(truncated)

    def summary(self, terminated: bool) -> Episode:
        """Return the summary of the current episode, which has ended."""
        return Episode(self.seed, self._total, len(self.actions), terminated)

    def _checked(self, obs: Any, method: str) -> Array:
        if not isinstance(obs, np.ndarray) or obs.shape != self._shape or obs.dtype != self._dtype:
            found = f"{obs.dtype} of shape {obs.shape}" if isinstance(obs, np.ndarray) else type(obs).__name__
            raise self._fault(
                method,
                f"returned an observation of type {found}; its space expects {self._dtype} of shape {self._shape}",
            )
        if not self._holds(obs):
            position = tuple(np.argwhere(~((obs >= self._low) & (obs <= self._high)))[0].tolist())
            raise self._fault(
                method,
                f"returned an observation with {obs[position]} at {list(position)}, outside its space "
                f"({float(self._low[position]):g} to {float(self._high[position]):g})",
            )
        return obs

    def _hold_large(self, obs: Array) -> bool:
        """Return whether all values are within the bounds of the space."""
        return self._unbounded or bool(((obs >= self._low) & (obs <= self._high)).all())

    def _hold_small(self, obs: Array) -> bool:
        """Return the same for few values."""
        for value, (low, high) in zip(obs.tolist(), self._limits, strict=True):  # noqa: SIM110  faster than all()
            if not low <= value <= high:
                return False
        return True

    def _is_small(self) -> bool:
        return len(self._shape) == 1 and self._shape[0] <= SMALL

    def _finite(self, action: Array) -> Array:
        """Return a continuous action if it is finite."""
        if not np.isfinite(action).all():
            raise NonFiniteError(
                f"the policy has diverged: its action in the environment {self._name} is {action.tolist()}, "
                f"{self._position()}.\nTry a lower learning rate, or limit the gradients with max_grad_norm = 1.0"
            )
        return action

    def _position(self) -> str:
        return f"at timestep {len(self.actions)} of the episode with seed {self.seed}"

    def _fault(self, method: str, what: str) -> FaultyEnvironmentError:
        return FaultyEnvironmentError(
            f"environment {self._name} {what} in {method}(), {self._position()}; fix the environment, then resume from "
            "the last checkpoint: dlpipe resume RUN"
        )


def sample_action(space: spaces.Space[Any]) -> Any:
    """Return a random action as `CheckedEnv.step` takes it: the index of a discrete one counts from 0."""
    return space.sample() - space.start if isinstance(space, spaces.Discrete) else space.sample()
