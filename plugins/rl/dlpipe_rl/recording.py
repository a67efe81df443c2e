"""Episodes as GIFs, which every viewer shows and which need no ffmpeg."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from PIL import Image

from dlpipe_rl.checked_env import CheckedEnv
from dlpipe_rl.drawing import picture
from dlpipe_rl.environments import Environments

#: Maximum number of frames; of a long episode, only every n-th timestep is shown.
MAX_FRAMES = 250
MILLISECONDS = 40  # per frame; browsers slow down below 20


def record(path: Path, data: Environments, seed: int, actions: Sequence[Any]) -> bool:
    """Replay an episode and write its frames to a GIF; return whether the environment can be rendered.

    Args:
        seed: of the episode.
        actions: of the episode.
    """
    every = timesteps_per_frame(len(actions))
    shown = [image for timestep, image in enumerate(pictures(data, seed, actions)) if timestep % every == 0]
    if not shown:
        return False
    first, *others = [image.quantize(64, dither=Image.Dither.NONE) for image in shown]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=MILLISECONDS, loop=0)
    return True


def timesteps_per_frame(length: int) -> int:
    """Return how many timesteps of an episode of this length one frame of its GIF stands for."""
    return -(-length // MAX_FRAMES) or 1


def pictures(data: Environments, seed: int, actions: Sequence[Any]) -> Iterator[Image.Image]:
    """Yield a frame for every timestep of an episode; none if the environment cannot be rendered."""
    env = CheckedEnv(drawable(data), data.name, lambda number: seed)
    env.reset()
    try:
        for action in [*actions, None]:
            image = picture(env.env)
            if image is None:
                return
            yield image
            if action is not None:
                env.step(action)
    finally:
        env.env.close()


def drawable(data: Environments) -> gym.Env[Any, Any]:
    """Create an environment that renders itself, if it can."""
    modes = data.make().metadata.get("render_modes", [])
    return data.make("rgb_array" if "rgb_array" in modes else None)
