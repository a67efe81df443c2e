"""Arrange images in a grid with names of rows, columns and images, and pictures in an animation.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dlpipe.figures import font_file

#: Small images are magnified by an integer factor, up to this size in pixels.
SHOWN = 64
GAP = 2
#: The height of a line of text, and the size of its letters, in pixels.
LINE, LETTERS = 14, 11
#: Of an animation: the duration of each frame, and of the last.
FRAME_MS, LAST_MS = 150, 2000
ANIMATION = "training.gif"

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def image_grid(
    images: Tensor,
    columns: int | None = None,
    *,
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Image.Image:
    """Return images (N, C, H, W) from 0 to 1 in a grid of `columns` columns, nearly square by default.

    Args:
        row_names: written to the left of the rows, in several lines if they contain line breaks.
        column_names: written above the columns, shortened to their width.
        captions: written below the images, shortened in the same way.
    """
    count, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    factor = max(1, SHOWN // max(height, width))
    font = font_for([*row_names, *column_names, *captions])
    lines = [line for name in row_names for line in name.split("\n")]
    left = max((math.ceil(font.getlength(line)) + 3 * GAP for line in lines), default=0)
    above, below = (LINE if texts else 0 for texts in (column_names, captions))
    cell_height, cell_width = height * factor + below + GAP, width * factor + GAP
    size = (left + columns * cell_width + GAP, above + -(-count // columns) * cell_height + GAP)
    grid = Image.new("L" if channels == 1 else "RGB", size, "white")
    draw = ImageDraw.Draw(grid)
    shown = images.detach().float().clamp(0, 1).mul(255).round().byte().cpu().permute(0, 2, 3, 1).numpy()
    for number, image in enumerate(shown.repeat(factor, axis=1).repeat(factor, axis=2)):
        row, column = divmod(number, columns)
        corner = left + GAP + column * cell_width, above + GAP + row * cell_height
        grid.paste(Image.fromarray(image[..., 0] if channels == 1 else image), corner)
        if number < len(captions):
            under = corner[0] + width * factor / 2, corner[1] + height * factor
            draw.text(under, _fitted(captions[number], width * factor, font), "black", font, anchor="ma")
    for row, name in enumerate(row_names):
        end = left - 2 * GAP, above + GAP + row * cell_height + height * factor / 2
        draw.multiline_text(end, name, "black", font, anchor="rm", align="right", spacing=1)
    for column, name in enumerate(column_names):
        top = left + GAP + column * cell_width + width * factor / 2, 0
        draw.text(top, _fitted(name, width * factor, font), "black", font, anchor="ma")
    return grid


def font_for(texts: Sequence[str]) -> Font:
    """Return a font that has the characters of texts."""
    if all(map(str.isascii, texts)):
        return ImageFont.load_default(LETTERS)
    return ImageFont.truetype(font_file(texts), LETTERS)


def _fitted(text: str, width: int, font: Font) -> str:
    """Return a text, shortened at its end to a width in pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}.") > width:
        text = text[:-1]
    return f"{text}."


def write_animation(folder: Path) -> None:
    """Write a GIF of the pictures ``step-….png`` in a folder, in the order of their names, each below its step."""
    frames = [
        _with_step(path).convert("P", palette=Image.Palette.ADAPTIVE) for path in sorted(folder.glob("step-*.png"))
    ]
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    frames[0].save(folder / ANIMATION, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def _with_step(path: Path) -> Image.Image:
    picture = Image.open(path, formats=["PNG"]).convert("RGB")
    frame = Image.new("RGB", (picture.width, picture.height + LINE), "white")
    frame.paste(picture, (0, LINE))
    text = f"step {int(path.stem.removeprefix('step-')):,}"
    ImageDraw.Draw(frame).text((GAP, 0), text, "black", font_for([text]))
    return frame


def frame_path(folder: Path, step: int) -> Path:
    """Return the path of the frame of a step in the folder of an animation."""
    return folder / f"step-{step:08d}.png"
