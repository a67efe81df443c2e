"""Atari games, seen and played as the literature has them.

Sources: Mnih et al. 2015, https://doi.org/10.1038/nature14236, Methods, "Preprocessing": every fourth frame, the
brighter of the last two, grey, 84×84, the last four together, up to 30 idle frames first, rewards -1, 0 or 1;
Machado et al. 2018, "Revisiting the Arcade Learning Environment", https://arxiv.org/abs/1709.06009: sticky
actions, and an episode ends with the game, not with a life.
Departs from them: sticky actions are drawn here and not by the emulator, so that an episode follows from its seed
(the emulator is then the same machine each time it is reset, and its ROM need not be read again).
"""

from __future__ import annotations

from functools import cache, partial
from importlib import metadata
from typing import Annotated, Any, Literal

import ale_py
import gymnasium as gym
import numpy as np
from ale_py import roms
from gymnasium import spaces
from PIL import Image
from pydantic import Field

from dlpipe.errors import InputError
from dlpipe.fields import Fraction, NonNegative, Positive
from dlpipe.messages import nearest
from dlpipe_rl.environments import Environments
from dlpipe_rl.episodes import Array

#: Frames of a game after which it is over, half an hour of play (Mnih et al. 2015).
FRAMES = 108_000
ScreenSize = Annotated[int, Field(ge=36, le=210)]


class Atari(gym.Env[Array, Any]):
    """A game of the Arcade Learning Environment.

    Args:
        repeat_action_probability: probability that the console takes the action of the frame before instead.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012  as gymnasium has it

    def __init__(
        self,
        game: str,
        screen_size: int,
        frame_skip: int,
        repeat_action_probability: float,
        noop_max: int,
        render_mode: Literal["rgb_array"] | None = None,
    ) -> None:
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self.render_mode = render_mode
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.setInt("random_seed", 0)
        rom = roms.get_rom_path(game)
        assert rom is not None
        self._ale.loadROM(rom)
        self._actions = self._ale.getMinimalActionSet()
        self._screen_size, self._skip, self._repeat_action_probability, self._noop_max = (
            screen_size,
            frame_skip,
            repeat_action_probability,
            noop_max,
        )
        self._last: Any = self._actions[0]
        height, width = self._ale.getScreenDims()
        self._screens = np.zeros((2, height, width), np.uint8)
        self.observation_space = spaces.Box(0, 255, (1, screen_size, screen_size), np.uint8)
        self.action_space = spaces.Discrete(len(self._actions))
        self.time_limit = FRAMES // frame_skip

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin a new game and let some frames go by."""
        super().reset(seed=seed)
        self._ale.reset_game()
        self._last = self._actions[0]
        for _ in range(int(self.np_random.integers(self._noop_max + 1))):
            self._ale.act(self._actions[0])
        self._screens[:] = self._ale.getScreenGrayscale()
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Hold an action for some frames."""
        reward = 0.0
        for left in reversed(range(self._skip)):
            if not self._repeat_action_probability or self.np_random.random() >= self._repeat_action_probability:
                self._last = self._actions[action]
            reward += self._ale.act(self._last)
            if left < 2:  # objects flicker: each of them is on one of two frames
                self._ale.getScreenGrayscale(self._screens[left])
            if self._ale.game_over():
                break
        over = bool(self._ale.game_over())
        return self._seen(), reward, over, not over and self._ale.getEpisodeFrameNumber() >= FRAMES, {}

    def render(self) -> Array:
        """Return the screen in colours (210, 160, 3)."""
        screen: Array = self._ale.getScreenRGB()
        return screen

    def _seen(self) -> Array:
        image = Image.fromarray(self._screens.max(0)).resize(
            (self._screen_size, self._screen_size), Image.Resampling.BOX
        )
        return np.asarray(image)[np.newaxis]


def atari(
    *,
    game: str = "pong",
    screen_size: ScreenSize = 84,
    frame_skip: Positive = 4,
    frame_stack: Positive = 4,
    repeat_action_probability: Fraction = 0.25,
    noop_max: NonNegative = 30,
    clip_rewards: bool = True,
    num_workers: NonNegative = 0,
) -> Environments:
    """Offer an Atari game, whose ROM comes with ale-py.

    Args:
        game: such as "pong" or "space_invaders".
        screen_size: pixels of a side of what is seen.
        frame_skip: frames that an action is held; a timestep.
        frame_stack: an observation is so many of the last pictures.
        repeat_action_probability: probability, in each frame, that the emulator repeats the action of the frame
            before (sticky actions). Older papers use 0; Machado et al. (2018) recommend 0.25.
        noop_max: at most so many frames go by before the first move.
        clip_rewards: learn from the sign of a reward only; evaluations count the points of the game.
        num_workers: processes that play; 0 plays in this one.
    """
    if game not in (known := _games()):
        raise InputError(f'[data] game = "{game}": ale-py has no such ROM.{nearest(game, known)}')
    version = metadata.version("ale-py")
    return Environments(
        f"Atari {game}",
        partial(Atari, game, screen_size, frame_skip, repeat_action_probability, noop_max),
        frame_stack=frame_stack,
        fingerprint=f"{game}, {screen_size} pixels, {frame_skip} frames, {repeat_action_probability} sticky, "
        f"{noop_max} idle, {frame_stack} pictures, ale-py {version}",
        for_training=_clipped if clip_rewards else None,
        num_workers=num_workers,
    )


@cache
def _games() -> frozenset[str]:
    return frozenset(roms.get_all_rom_ids())


def _clipped(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    return gym.wrappers.TransformReward(env, lambda reward: float(np.sign(float(reward))))
