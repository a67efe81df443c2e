"""Episodes as moving pictures: a GIF, which shows everywhere and needs no ffmpeg."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from PIL import Image

from dlpipe_rl.drawing import picture
from dlpipe_rl.environments import Environments
from dlpipe_rl.episodes import Episodes

#: At most so many pictures; a long episode is shown in larger steps.
FRAMES = 250
MILLISECONDS = 40  # per picture; browsers slow down below 20


def record(path: Path, data: Environments, seed: int, actions: Sequence[Any]) -> bool:
    """Play an episode again and write what it looks like; return whether the environment can be drawn.

    Args:
        seed: of the episode.
        actions: taken in it.
    """
    every = -(-len(actions) // FRAMES) or 1
    shown = [image for timestep, image in enumerate(pictures(data, seed, actions)) if timestep % every == 0]
    if not shown:
        return False
    first, *others = [image.quantize(64, dither=Image.Dither.NONE) for image in shown]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=MILLISECONDS, loop=0)
    return True


def pictures(data: Environments, seed: int, actions: Sequence[Any]) -> Iterator[Image.Image]:
    """Yield a picture of every timestep of an episode; none where the environment cannot be drawn."""
    env = Episodes(drawable(data), data.name, lambda number: seed)
    env.begin()
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
    """Make an environment that can draw itself, if it knows how to."""
    modes = data.make().metadata.get("render_modes", [])
    return data.make("rgb_array" if "rgb_array" in modes else None)
