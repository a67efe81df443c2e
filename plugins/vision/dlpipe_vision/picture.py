"""Conversion of a user's picture, of any size and colours, into the format of the training images."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dlpipe.errors import InputError

#: Suffixes of image files.
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
#: A picture with more pixels than this (100 megapixels) is an attack or a mistake.
MAX_PIXELS = 100_000_000
#: A picture whose border is brighter than this (of 255) has a light background.
LIGHT_BACKGROUND = 160


def open_image(path: Path, content: bytes | None = None) -> Image.Image:
    """Read and decode an image, rotated as its Exif data says; 16-bit grey becomes 8-bit, transparency white.

    Args:
        content: the bytes of the file if it was read already; `path` is then only used in messages.

    Raises:
        InputError: the file does not exist, is not an image, is truncated, or has more than 100 million pixels.
    """
    try:
        if not (path.stat().st_size if content is None else content):
            raise InputError(f"{path}: the file is empty; expected an image")
        with Image.open(path if content is None else io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"{path}: {image.width}×{image.height} pixels; expected at most {MAX_PIXELS:,}; make it smaller"
                )
            image.load()
            return to_plain_mode(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too many pixels; expected at most {MAX_PIXELS:,}; make it smaller") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected an image") from error
    except (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error, zlib.error) as error:
        raise InputError(f"{path} cannot be read as an image: {_reason(error, path)}") from error


def to_plain_mode(image: Image.Image) -> Image.Image:
    """Return an image in mode "L" or "RGB"."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray((values >> 8 if values.max() > 255 else values).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode in ("1", "F") else "RGB")


def read_picture(path: Path, shape: tuple[int, int, int], *, light_on_dark: bool) -> tuple[Tensor, list[str]]:
    """Return an image as bytes (C, H, W), and notes about the changes made to it.

    Args:
        shape: (C, H, W) of the training images.
        light_on_dark: whether they are light on dark; if so, a picture with a light background is inverted.

    Raises:
        InputError: see `open_image`.
    """
    channels, height, width = shape
    image = open_image(path)
    notes = []
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
        notes.append("converted to grey" if mode == "L" else "converted from grey to colour")
    if light_on_dark and np.median(_border(image)) > LIGHT_BACKGROUND:
        image = ImageOps.invert(image)
        notes.append("inverted, as the training images are light on dark")
    if image.size != (width, height):
        notes.append(f"resized from {image.width}×{image.height} to {width}×{height}")
        if image.width * height != image.height * width:
            notes[-1] += " with a border, to keep its aspect ratio"
        image = fitted(image, width, height)
    return to_bytes(image), notes


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return an image resized to width × height; a border in its background colour keeps its aspect ratio."""
    return ImageOps.pad(image, (width, height), Image.Resampling.LANCZOS, _background(image))


def to_bytes(image: Image.Image) -> Tensor:
    """Return an image of mode "L" or "RGB" as bytes (C, H, W)."""
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous()


def to_pixels(picture: Tensor) -> np.ndarray[Any, Any]:
    """Return bytes (C, H, W) in the layout for display: (H, W, 3) if there are three channels, else grey (H, W)."""
    return (picture.permute(1, 2, 0) if len(picture) == 3 else picture.float().mean(0).byte()).numpy()


def _border(pixels: Image.Image) -> np.ndarray[Any, Any]:
    """Return the outermost pixels (P, C)."""
    values = np.asarray(pixels).reshape(pixels.height, pixels.width, -1)
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _background(image: Image.Image) -> tuple[int, ...] | int:
    """Return the background colour: the median of the border."""
    colour = tuple(int(value) for value in np.median(_border(image), axis=0))
    return colour if len(colour) > 1 else colour[0]


def _reason(error: Exception, path: Path) -> str:
    """Return the text of an error without the path, which the message contains already."""
    text = getattr(error, "strerror", None) or str(error)
    return text.partition(" <_io.BytesIO")[0].replace(f" '{path}'", "").replace(f" {str(path)!r}", "")
