"""Episodes as GIFs, which every viewer shows and which need no ffmpeg.

A film runs at the speed of its environment (``render_fps`` of its metadata) and shows several episodes if they are
short. A line above the picture says where it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
from PIL import Image, ImageDraw, ImageFont

from dlpipe_rl.checked_env import CheckedEnv, FaultyEnvironmentError
from dlpipe_rl.drawing import picture
from dlpipe_rl.environments import Environments
from dlpipe_rl.greedy import EpisodeTrace

#: Maximum number of frames; of a longer film, only every n-th timestep is shown.
MAX_FRAMES = 400
#: Timesteps per second of an environment that does not say how many it has.
USUAL_FPS = 10
#: Short episodes are followed by others, up to this length in seconds.
LONG_ENOUGH = 5.0
#: How long the last frame of an episode is shown, and the shortest frame that browsers show in time.
LAST_MS, SHORTEST_MS = 1000, 20
#: The height of the line above the picture, in pixels.
LINE = 14


def frames_per_second(data: Environments) -> float:
    """Return how many timesteps of an environment make a second."""
    with data.make() as env:
        fps = env.metadata.get("render_fps")
    return float(fps or USUAL_FPS)


def long_enough(data: Environments, traces: Sequence[EpisodeTrace]) -> Sequence[EpisodeTrace]:
    """Return the first episodes, as many as make a film that is long enough to see something."""
    fps = frames_per_second(data)
    ends = accumulate(len(trace.actions) / fps + LAST_MS / 1000 for trace in traces)
    return traces[: 1 + sum(end < LONG_ENOUGH for end in ends)]


def record(path: Path, data: Environments, traces: Sequence[EpisodeTrace], *, title: str = "") -> bool:
    """Replay episodes and write their frames to a GIF; return whether the environment can be rendered.

    Args:
        title: what the line above the pictures begins with, such as "step 1,200".
    """
    fps = frames_per_second(data)
    every = timesteps_per_frame(traces, fps)
    frames: list[Image.Image] = []
    durations: list[int] = []
    for trace in traces:
        length, returns = len(trace.actions), [0.0, *accumulate(trace.rewards)]
        shown = [
            _titled(image, f"{title}  timestep {timestep} of {length}  return {returns[timestep]:g}".strip())
            for timestep, image in enumerate(pictures(data, trace.episode.seed, trace.actions))
            if timestep % every == 0 or timestep == length
        ]
        if not shown:
            return False
        # Rounded sums, since a GIF counts in hundredths of a second, and 1/60 s would become 1/50 or 1/100.
        ends = [round(100 * frame * every / fps) * 10 for frame in range(len(shown))]
        frames += shown
        durations += [later - earlier for earlier, later in pairwise(ends)] + [LAST_MS]
    first, *others = [image.quantize(64, dither=Image.Dither.NONE) for image in frames]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)
    return True


def timesteps_per_frame(traces: Sequence[EpisodeTrace], fps: float) -> int:
    """Return how many timesteps one frame of a film of episodes stands for."""
    length = sum(len(trace.actions) for trace in traces)
    return max(-(-length // MAX_FRAMES), round(SHORTEST_MS * fps / 1000), 1)


def _titled(image: Image.Image, text: str) -> Image.Image:
    frame = Image.new("RGB", (image.width, image.height + LINE), "white")
    frame.paste(image, (0, LINE))
    ImageDraw.Draw(frame).text((2, 0), text, "black", ImageFont.load_default(11))
    return frame


def pictures(data: Environments, seed: int, actions: Sequence[Any]) -> Iterator[Image.Image]:
    """Yield a frame for every timestep of an episode; none if the environment cannot be rendered.

    An environment that is not repeatable may end the episode earlier, which is a warning.
    """
    env = CheckedEnv(drawable(data), data.name, lambda number: seed)
    env.reset()
    ended, shown = False, 0
    with env.env, suppress(FaultyEnvironmentError):
        for action in [*actions, None]:
            image = picture(env.env)
            if image is None:
                return
            yield image
            shown += 1
            if action is None or ended:
                break
            _, _, terminated, truncated = env.step(action)
            ended = terminated or truncated
    if shown <= len(actions):
        warnings.warn(
            f"environment {data.name} is not repeatable: replayed with the same seed and the same actions to be drawn, "
            f"the episode with seed {seed} ends after {shown - 1} timesteps instead of {len(actions)}",
            stacklevel=2,
        )


def drawable(data: Environments) -> gym.Env[Any, Any]:
    """Create an environment that renders itself, if it can."""
    with data.make() as env:
        modes = env.metadata.get("render_modes", [])
    return data.make("rgb_array" if "rgb_array" in modes else None)
