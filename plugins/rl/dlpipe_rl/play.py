"""``dlpipe predict RUN`` for an agent: play episodes in the terminal or record them as a GIF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from dlpipe.compute import Compute
from dlpipe.data import require_new
from dlpipe.errors import InputError
from dlpipe.fields import NonNegative, Positive
from dlpipe.protocols import Data
from dlpipe_rl.environments import Environments, require_environments
from dlpipe_rl.greedy import EpisodeTrace, greedy_policy, play_episodes
from dlpipe_rl.recording import pictures, record

#: From equal to the background to most different from it.
SHADES = " .:-=+*#%@"
#: Timesteps between two frames in the terminal, and their width in characters.
EVERY, COLUMNS = 10, 60


def play(
    model: nn.Module,
    data: Data,
    compute: Compute,
    *,
    episodes: Positive = 1,
    seed: NonNegative = 20_000,
    every: Positive | None = None,
    columns: Positive | None = None,
    output: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Play episodes without exploration.

    Args:
        episodes: number of episodes.
        seed: of the first one; the others use the following seeds.
        every: timesteps between two frames in the terminal; 10 by default.
        columns: width of a frame in the terminal; 60 by default.
        output: write a GIF to this file instead; the names of further episodes get a number.

    Raises:
        InputError: the environment cannot be rendered, a name does not end in .gif, a file of a later episode exists,
            or one cannot be written.
    """
    if output is not None:
        _check_output(output, every=every, columns=columns)
        for number in range(1, episodes):
            require_new(_path(output, number))
    envs = require_environments(data, "dlpipe predict")
    policy = greedy_policy(model, compute)
    for number in range(episodes):
        env = envs.single_env(seed + number)
        (trace,) = play_episodes(policy, [env])
        env.close()
        answer = {"seed": seed + number, "return": trace.episode.total, "length": trace.episode.length}
        if output is None:
            yield from _steps(envs, seed + number, trace, every or EVERY, columns or COLUMNS)
            yield answer
        else:
            yield answer | {"file": str(_write(_path(output, number), envs, trace))}


def _check_output(output: Path, **of_terminal: int | None) -> None:
    if output.suffix.lower() != ".gif":
        raise InputError(f"--output {output}: episodes are written as GIFs; expected a name that ends in .gif")
    if given := [f"--{name} {value}" for name, value in of_terminal.items() if value is not None]:
        raise InputError(
            f"{' and '.join(given)}: no effect with --output, as it is for frames in the terminal; remove it"
        )


def as_text(image: Image.Image, columns: int) -> str:
    """Return an image as lines of characters; the more a pixel differs from the background, the darker."""
    rows = max(1, round(columns * image.height / image.width / 2))  # a character is twice as high as wide
    grey = np.asarray(image.convert("L").resize((columns, rows), Image.Resampling.BOX), np.int64)
    background = np.bincount(np.asarray(image.convert("L")).ravel()).argmax()
    apart = np.abs(grey - background)
    shades = apart * (len(SHADES) - 1) // max(1, apart.max())
    return "\n".join("".join(SHADES[shade] for shade in row).rstrip() for row in shades)


def _steps(data: Environments, seed: int, trace: EpisodeTrace, every: int, columns: int) -> Iterator[dict[str, Any]]:
    shown = {
        timestep: as_text(image, columns)
        for timestep, image in enumerate(pictures(data, seed, trace.actions))
        if timestep % every == 0 or timestep == len(trace.actions)
    }
    for timestep in range(0, len(trace.actions), every):
        answer = {
            "timestep": timestep,
            "action": np.asarray(trace.actions[timestep]).tolist(),
            "reward": trace.rewards[timestep],
        }
        if trace.values:
            answer["value"] = round(trace.values[timestep], 3)
        yield answer | ({"picture": "\n" + shown[timestep]} if timestep in shown else {})
    if len(trace.actions) in shown:
        yield {"timestep": len(trace.actions), "picture": "\n" + shown[len(trace.actions)]}


def _path(output: Path, number: int) -> Path:
    """Return the file of the episode `number`, which counts from 0."""
    return output if not number else output.with_stem(f"{output.stem}-{number + 1}")


def _write(path: Path, data: Environments, trace: EpisodeTrace) -> Path:
    try:
        drawn = record(path, data, [trace])
    except (OSError, ValueError) as error:  # Pillow raises ValueError for an unknown file format
        raise InputError(
            f"--output {path}: the file cannot be written: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not drawn:
        raise InputError(
            f"environment {data.name} cannot be rendered (it has no render_mode rgb_array, or a package that rendering "
            "needs is not installed); leave out --output"
        )
    return path
