"""Catch: a ball falls and a paddle has to be under it. The smallest game that is played from pixels.

Source: Mnih et al. 2014, "Recurrent Models of Visual Attention", https://arxiv.org/abs/1406.6247, section 4.2.
Departs from it: the ball falls straight down by default (with `drift` it falls diagonally, as there).
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from pydantic import Field

from dlpipe.fields import Fraction
from dlpipe_rl.checked_env import Array
from dlpipe_rl.environments import Environments

#: Left, stay, right.
PADDLE_MOVES = (-1, 0, 1)


class Catch(gym.Env[Array, Any]):
    """A board of pixels, which are 255 at the ball and the paddle and 0 elsewhere.

    Args:
        drift: probability that the ball moves one column sideways in a timestep. The direction is chosen at the
            beginning of the episode and reversed at a wall.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012  as gymnasium has it
    reward_range = (-1.0, 1.0)
    reward_threshold = 1.0

    def __init__(self, rows: int, columns: int, drift: float, render_mode: Literal["rgb_array"] | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (1, rows, columns), np.uint8)
        self.action_space = spaces.Discrete(len(PADDLE_MOVES))
        self.time_limit = rows - 1
        self._rows, self._columns, self._drift = rows, columns, drift
        self._row = self._ball = self._paddle = self._side = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Put the ball into a random column of the top row and the paddle into the middle."""
        super().reset(seed=seed)
        self._row, self._paddle = 0, self._columns // 2
        self._ball = int(self.np_random.integers(self._columns))
        self._side = int(self.np_random.choice([-1, 1]))
        return self._board(), {}

    def step(self, action: Any) -> tuple[Array, SupportsFloat, bool, bool, dict[str, Any]]:
        """Move the paddle and the ball; the last reward is 1 if the ball is caught, else -1."""
        self._paddle = min(max(self._paddle + PADDLE_MOVES[action], 0), self._columns - 1)
        self._row += 1
        if self._drift and self.np_random.random() < self._drift:
            if not 0 <= self._ball + self._side < self._columns:
                self._side = -self._side
            self._ball = min(max(self._ball + self._side, 0), self._columns - 1)
        ended = self._row == self._rows - 1
        reward = (1.0 if self._ball == self._paddle else -1.0) if ended else 0.0
        return self._board(), reward, ended, False, {}

    def render(self) -> Array:
        """Return the board as an image (H, W, 3), with the paddle and the ball in different colors."""
        image = np.full((self._rows, self._columns, 3), 255, np.uint8)
        image[-1, self._paddle] = (0, 114, 178)
        image[self._row, self._ball] = (213, 94, 0)
        return image

    def _board(self) -> Array:
        board = np.zeros((1, self._rows, self._columns), np.uint8)
        board[0, self._row, self._ball] = board[0, -1, self._paddle] = 255
        return board


def catch(
    *,
    rows: Annotated[int, Field(ge=3)] = 10,
    columns: Annotated[int, Field(ge=3)] = 10,
    drift: Fraction = 0.0,
) -> Environments:
    """Create the game of catching a falling ball with a paddle, observed as pixels.

    Args:
        rows: height of the board; an episode has one timestep less.
        columns: width of the board.
        drift: probability that the ball moves sideways in a timestep.
    """
    name = f"Catch {rows}×{columns}" + (f", drift {drift:g}" if drift else "")
    return Environments(name, partial(Catch, rows, columns, drift), fingerprint=f"{name}, version 1")
