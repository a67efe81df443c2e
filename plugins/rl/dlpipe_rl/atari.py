"""Atari games with the usual preprocessing.

Sources: Mnih et al. 2015, https://doi.org/10.1038/nature14236, Methods, "Preprocessing": frame skip 4, maximum of
the last two frames, greyscale, 84×84, 4 stacked frames, up to 30 no-op frames at the start, rewards clipped to -1, 0
or 1; Machado et al. 2018, "Revisiting the Arcade Learning Environment", https://arxiv.org/abs/1709.06009: sticky
actions, and an episode ends with the game, not with a life.
Departs from them: the environment samples sticky actions instead of the emulator, so that an episode follows from
its seed (the emulator is then in the same state after every reset, and its ROM need not be loaded again).
"""

from __future__ import annotations

from functools import cache, partial
from importlib import metadata
from typing import Annotated, Any, Literal, SupportsFloat

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
from dlpipe_rl.checked_env import Array
from dlpipe_rl.environments import Environments

#: An episode is truncated after this many frames, half an hour of play (Mnih et al. 2015).
MAX_FRAMES = 108_000
#: Frame rate of the console.
FRAMES_PER_SECOND = 60
ScreenSize = Annotated[int, Field(ge=36, le=210)]


class Atari(gym.Env[Array, Any]):
    """A game of the Arcade Learning Environment.

    Args:
        repeat_action_probability: probability, in each frame, that the emulator repeats the action of the frame before.
    """

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
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": FRAMES_PER_SECOND / frame_skip}
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
        self.time_limit = MAX_FRAMES // frame_skip

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin a new game and skip a random number of frames without an action."""
        super().reset(seed=seed)
        self._ale.reset_game()
        self._last = self._actions[0]
        for _ in range(int(self.np_random.integers(self._noop_max + 1))):
            self._ale.act(self._actions[0])
        self._screens[:] = self._ale.getScreenGrayscale()
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Repeat an action for `frame_skip` frames."""
        reward = 0.0
        for left in reversed(range(self._skip)):
            if not self._repeat_action_probability or self.np_random.random() >= self._repeat_action_probability:
                self._last = self._actions[action]
            reward += self._ale.act(self._last)
            if left < 2:  # objects flicker: some are drawn in every other frame only
                self._screens[1] = self._screens[0]
                self._ale.getScreenGrayscale(self._screens[0])
            if self._ale.game_over():
                break
        over = bool(self._ale.game_over())
        return self._observation(), reward, over, not over and self._ale.getEpisodeFrameNumber() >= MAX_FRAMES, {}

    def render(self) -> Array:
        """Return the screen in color (210, 160, 3)."""
        screen: Array = self._ale.getScreenRGB()
        return screen

    def _observation(self) -> Array:
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
    """Create an Atari game; its ROM comes with ale-py.

    Args:
        game: such as "pong" or "space_invaders".
        screen_size: height and width of an observation in pixels.
        frame_skip: frames per timestep, in which the action is repeated.
        frame_stack: number of frames per observation.
        repeat_action_probability: probability, in each frame, that the emulator repeats the action of the frame
            before (sticky actions). Older papers use 0; Machado et al. (2018) recommend 0.25.
        noop_max: maximum number of frames without an action at the start of an episode.
        clip_rewards: train on the sign of the rewards; evaluations use the points of the game.
        num_workers: processes that step the training environments; 0 steps them in the main process.
    """
    if game not in (known := _games()):
        raise InputError(f'game = "{game}": ale-py has no such ROM.{nearest(game, known)}')
    version = metadata.version("ale-py")
    return Environments(
        f"Atari {game}",
        partial(Atari, game, screen_size, frame_skip, repeat_action_probability, noop_max),
        frame_stack=frame_stack,
        fingerprint=f"{game}, {screen_size} pixels, {frame_skip} frames, {repeat_action_probability} sticky, "
        f"{noop_max} idle, {frame_stack} pictures, ale-py {version}",
        training_reward=_sign if clip_rewards else None,
        num_workers=num_workers,
    )


@cache
def _games() -> frozenset[str]:
    return frozenset(roms.get_all_rom_ids())


def _sign(reward: SupportsFloat) -> float:
    return float(np.sign(float(reward)))
