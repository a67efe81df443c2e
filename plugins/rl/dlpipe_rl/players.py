"""Several copies of an environment that are played together.

An episode that ends is followed at once, in the same step, by the first observation of the next one (gymnasium
calls it ``SAME_STEP``), so every step is a move of every player; the observation that the ended episode closed
with is handed over beside it, as a value has to be estimated there when the episode was only cut off.
Axes: N players.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from dlpipe_rl.episodes import Array, Episode, Episodes


class Moves(NamedTuple):
    """What came of one move of every player.

    Args:
        obs: (N, …) what they see now; of an ended episode's player, the beginning of the next one.
        rewards: N of them.
        terminated: for each, whether the episode came to its own end, beyond which there is nothing.
        truncated: for each, whether it was cut off.
        last: by player, the observation that its ended episode closed with.
        episodes: by player, what the ended episode came to.
    """

    obs: Array
    rewards: list[float]
    terminated: list[bool]
    truncated: list[bool]
    last: dict[int, Array]
    episodes: dict[int, Episode]


class Players(Protocol):
    """What trainers and evaluators expect: N players in this process, or in several."""

    def __len__(self) -> int: ...

    def begin(self) -> Array:
        """Begin the first episode of every player and return what they see (N, …); later calls write into it."""

    def step(self, actions: Sequence[Any] | Array) -> Moves:
        """Make one move of every player."""

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""

    def restore(self, state: Mapping[str, Any]) -> Array:
        """Go back to a state and return what the players see (N, …)."""

    def close(self) -> None:
        """Give back what the environments hold."""


class LocalPlayers:
    """Players in this process, one after the other.

    Args:
        envs: one for each.
        frame_stack: an observation is so many of the last ones, the oldest first, joined along their first
            axis; at the beginning of an episode all of them are the first one.
    """

    def __init__(self, envs: Sequence[Episodes], *, frame_stack: int = 1) -> None:
        self._envs = envs
        shape = envs[0].env.observation_space.shape
        assert shape is not None
        self._size, self._frame_stack = shape[0], frame_stack
        self._obs = np.zeros((len(envs), frame_stack * shape[0], *shape[1:]), envs[0].env.observation_space.dtype)

    def __len__(self) -> int:
        return len(self._envs)

    def begin(self) -> Array:
        """See `Players.begin`."""
        for player, env in enumerate(self._envs):
            self._first(player, env.begin())
        return self._obs

    def step(self, actions: Sequence[Any] | Array) -> Moves:
        """See `Players.step`."""
        moves = Moves(self._obs, [], [], [], {}, {})
        for player, env in enumerate(self._envs):
            frame, reward, ends, cut = env.step(actions[player])
            self._next(player, frame)
            moves.rewards.append(reward)
            moves.terminated.append(ends)
            moves.truncated.append(cut and not ends)
            if ends or cut:
                moves.last[player] = self._obs[player].copy()
                moves.episodes[player] = env.ended(ends)
                self._first(player, env.begin())
        return moves

    def state(self) -> dict[str, Any]:
        """Return episode and actions of every player, and what it sees, to compare."""
        return {
            "episodes": [env.number for env in self._envs],
            "actions": [torch.from_numpy(np.array(env.actions)) for env in self._envs],
            "obs": torch.from_numpy(self._obs.copy()),
        }

    def restore(self, state: Mapping[str, Any]) -> Array:
        """Play every player's episode again up to where it was."""
        for player, env in enumerate(self._envs):
            self._first(player, env.begin(state["episodes"][player]))
            for action in state["actions"][player].numpy():
                self._next(player, env.step(action)[0])
        warn_if_different(self._obs, state["obs"])
        return self._obs

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            env.env.close()

    def _first(self, player: int, frame: Array) -> None:
        if self._frame_stack == 1:
            self._obs[player] = frame
        else:
            self._obs[player] = np.concatenate([frame] * self._frame_stack)

    def _next(self, player: int, frame: Array) -> None:
        if self._frame_stack == 1:
            self._obs[player] = frame
        else:
            obs = self._obs[player]
            obs[: -self._size] = obs[self._size :].copy()
            obs[-self._size :] = frame


def warn_if_different(obs: Array, saved: torch.Tensor) -> None:
    """Warn if players that were restored do not see what they saw before."""
    if not np.array_equal(obs, saved.numpy()):
        warnings.warn(
            "the environment is not repeatable: played again from the same seed with the same actions, it shows other "
            "observations than before; the run goes on, but not as if it had not been stopped",
            stacklevel=3,
        )
