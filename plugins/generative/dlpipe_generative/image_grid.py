"""Arrange images in a grid, and pictures in an animation.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

#: Small images are magnified by an integer factor, up to this size in pixels.
SHOWN = 64
GAP = 2
#: Above each labelled row: the height of its label in pixels.
LABEL = 14
#: Of an animation: the duration of each frame, and of the last.
FRAME_MS, LAST_MS = 150, 2000
ANIMATION = "training.gif"


def image_grid(images: Tensor, columns: int | None = None, labels: Sequence[str] = ()) -> Image.Image:
    """Return images (N, C, H, W) from 0 to 1 in a grid of `columns` columns, nearly square by default.

    Args:
        labels: of the rows, written above each; none by default.
    """
    count, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    factor = max(1, SHOWN // max(height, width))
    above = GAP + (LABEL if labels else 0)
    cell_height, cell_width = height * factor + above, width * factor + GAP
    rows = -(-count // columns)
    pixels = np.full((rows * cell_height + GAP, columns * cell_width + GAP, channels), 255, np.uint8)
    shown = images.detach().float().clamp(0, 1).mul(255).round().byte().cpu().permute(0, 2, 3, 1).numpy()
    for number, image in enumerate(shown.repeat(factor, axis=1).repeat(factor, axis=2)):
        row, column = divmod(number, columns)
        top, left = above + row * cell_height, GAP + column * cell_width
        pixels[top : top + height * factor, left : left + width * factor] = image
    grid = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default()
    for row, label in enumerate(labels):
        draw.text((GAP, row * cell_height + GAP), label, (0,) * channels, font)
    return grid


def write_animation(folder: Path) -> None:
    """Write a GIF of the pictures ``step-….png`` in a folder, in the order of their names, each below its step."""
    frames = [
        _with_step(path).convert("P", palette=Image.Palette.ADAPTIVE) for path in sorted(folder.glob("step-*.png"))
    ]
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    frames[0].save(folder / ANIMATION, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def _with_step(path: Path) -> Image.Image:
    picture = Image.open(path, formats=["PNG"]).convert("RGB")
    frame = Image.new("RGB", (picture.width, picture.height + LABEL), "white")
    frame.paste(picture, (0, LABEL))
    ImageDraw.Draw(frame).text((GAP, 0), f"step {int(path.stem.removeprefix('step-')):,}", "black")
    return frame


def frame_path(folder: Path, step: int) -> Path:
    """Return the path of the frame of a step in the folder of an animation."""
    return folder / f"step-{step:08d}.png"
