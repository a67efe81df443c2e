"""Images side by side in one picture, and pictures one after the other in a film.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

#: Small images are magnified by a whole number, up to this size in pixels.
SHOWN = 64
GAP = 2
#: Of a film: how long each picture stands, and the last.
FRAME_MS, LAST_MS = 150, 2000
FILM = "training.gif"


def sheet(images: Tensor, across: int | None = None) -> Image.Image:
    """Return images (N, C, H, W) from 0 to 1 in rows of `across`, as near to a square as can be if not given."""
    count, channels, height, width = images.shape
    across = across or math.ceil(math.sqrt(count))
    factor = max(1, SHOWN // max(height, width))
    cell_height, cell_width = height * factor + GAP, width * factor + GAP
    down = -(-count // across)
    pixels = np.full((down * cell_height + GAP, across * cell_width + GAP, channels), 255, np.uint8)
    shown = images.detach().float().clamp(0, 1).mul(255).round().byte().cpu().permute(0, 2, 3, 1).numpy()
    for number, image in enumerate(shown.repeat(factor, axis=1).repeat(factor, axis=2)):
        row, column = divmod(number, across)
        top, left = GAP + row * cell_height, GAP + column * cell_width
        pixels[top : top + height * factor, left : left + width * factor] = image
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def write_film(folder: Path) -> None:
    """Make a GIF of the pictures ``step-….png`` in a folder, in the order of their names."""
    frames = [
        Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE) for path in sorted(folder.glob("step-*.png"))
    ]
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    frames[0].save(folder / FILM, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def frame(folder: Path, step: int) -> Path:
    """Return where the picture of a step belongs in the folder of a film."""
    return folder / f"step-{step:08d}.png"
