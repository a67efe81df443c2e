"""What ``dlpipe predict RUN`` does with an agent: it plays, in the terminal or into a GIF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.fields import NonNegative, Positive
from dlpipe_rl.environments import Environments
from dlpipe_rl.greedy import Played, greedy, play_together
from dlpipe_rl.recording import pictures, record

#: From what is like the background to what is least like it.
SHADES = " .:-=+*#%@"


def play(
    model: nn.Module,
    data: Environments,
    compute: Compute,
    *,
    episodes: Positive = 1,
    seed: NonNegative = 20_000,
    every: Positive = 10,
    columns: Positive = 60,
    output: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Play episodes without exploration.

    Args:
        episodes: how many.
        seed: of the first one; the others follow.
        every: timesteps from one picture in the terminal to the next.
        columns: width of a picture in the terminal.
        output: write a GIF to this file instead; further episodes get a number.

    Raises:
        InputError: nobody can draw the environment, or the file cannot be written.
    """
    policy = greedy(model, compute)
    for number in range(episodes):
        player = data.player(seed + number)
        (played,) = play_together(policy, [player])
        player.close()
        told = {"seed": seed + number, "return": played.episode.total, "length": played.episode.length}
        if output is None:
            yield from _moves(data, seed + number, played, every, columns)
            yield told
        else:
            path = output if not number else output.with_stem(f"{output.stem}-{number + 1}")
            yield told | {"file": str(_written(path, data, seed + number, played))}


def as_text(image: Image.Image, columns: int) -> str:
    """Return a picture as lines of characters, the darker the less like the background."""
    rows = max(1, round(columns * image.height / image.width / 2))  # a character is twice as high as wide
    grey = np.asarray(image.convert("L").resize((columns, rows), Image.Resampling.BOX), np.int64)
    background = np.bincount(np.asarray(image.convert("L")).ravel()).argmax()
    apart = np.abs(grey - background)
    shades = apart * (len(SHADES) - 1) // max(1, apart.max())
    return "\n".join("".join(SHADES[shade] for shade in row).rstrip() for row in shades)


def _moves(data: Environments, seed: int, played: Played, every: int, columns: int) -> Iterator[dict[str, Any]]:
    shown = {
        timestep: as_text(image, columns)
        for timestep, image in enumerate(pictures(data, seed, played.actions))
        if timestep % every == 0 or timestep == len(played.actions)
    }
    for timestep in range(0, len(played.actions), every):
        told = {
            "timestep": timestep,
            "action": np.asarray(played.actions[timestep]).tolist(),
            "reward": played.rewards[timestep],
        }
        if played.values:
            told["value"] = round(played.values[timestep], 3)
        yield told | ({"picture": "\n" + shown[timestep]} if timestep in shown else {})
    if len(played.actions) in shown:
        yield {"timestep": len(played.actions), "picture": "\n" + shown[len(played.actions)]}


def _written(path: Path, data: Environments, seed: int, played: Played) -> Path:
    try:
        drawn = record(path, data, seed, played.actions)
    except (OSError, ValueError) as error:  # Pillow raises ValueError for a name that tells no format
        raise InputError(
            f"--output {path}: it cannot be written: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not drawn:
        raise InputError(
            f"environment {data.name} cannot be drawn (it has no render_mode rgb_array, or what that needs is not "
            "installed); leave out --output"
        )
    return path
