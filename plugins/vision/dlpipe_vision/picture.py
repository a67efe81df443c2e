"""A person's own picture, of any size and colours, made like the images of a training set."""

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

#: Files that are taken for images.
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
#: More pixels than this are no picture but an attack, or a mistake: 100 megapixels.
MAX_PIXELS = 100_000_000
#: A border brighter than this (of 255) is a light background.
LIGHT = 160


def open_image(path: Path, content: bytes | None = None) -> Image.Image:
    """Read and decode an image, turned as its camera was held; 16-bit grey becomes 8-bit, transparency white.

    Args:
        content: what the file holds, where it was read already; `path` then only names it.

    Raises:
        InputError: there is no such file, it is no image, is cut off, or has more than 100 million pixels.
    """
    try:
        if not (path.stat().st_size if content is None else content):
            raise InputError(f"{path}: the file is empty; expected an image")
        with Image.open(path if content is None else io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"{path}: {image.width}×{image.height} pixels; expected {MAX_PIXELS:,} at most, make it smaller"
                )
            image.load()
            return plain(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too many pixels; expected {MAX_PIXELS:,} at most, make it smaller") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error, zlib.error) as error:
        raise InputError(f"{path} cannot be read as an image: {_short(error, path)}") from error


def plain(image: Image.Image) -> Image.Image:
    """Return an image in mode "L" or "RGB"."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray((values >> 8 if values.max() > 255 else values).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode in ("1", "F") else "RGB")


def read_picture(path: Path, shape: tuple[int, int, int], *, dark: bool) -> tuple[Tensor, list[str]]:
    """Return an image as bytes (C, H, W) and what was done to make it so.

    Args:
        shape: (C, H, W) of the training images.
        dark: these are light on dark; a picture on a light ground is inverted.

    Raises:
        InputError: see `open_image`.
    """
    channels, height, width = shape
    image = open_image(path)
    done = []
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
        done.append("made grey" if mode == "L" else "made colour of grey")
    if dark and np.median(_border(image)) > LIGHT:
        image = ImageOps.invert(image)
        done.append("inverted, as the training images are light on dark")
    if image.size != (width, height):
        done.append(f"resized from {image.width}×{image.height} to {width}×{height}")
        if image.width * height != image.height * width:
            done[-1] += " with a border, to keep its shape"
        image = fitted(image, width, height)
    return to_bytes(image), done


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return an image resized to width × height; where its shape is another, a border of its colour is added."""
    return ImageOps.pad(image, (width, height), Image.Resampling.LANCZOS, _ground(image))


def to_bytes(image: Image.Image) -> Tensor:
    """Return an image of mode "L" or "RGB" as bytes (C, H, W)."""
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous()


def to_pixels(picture: Tensor) -> np.ndarray[Any, Any]:
    """Return bytes (C, H, W) as people look at them: grey (H, W), or colours (H, W, 3) if there are three channels."""
    return (picture.permute(1, 2, 0) if len(picture) == 3 else picture.float().mean(0).byte()).numpy()


def _border(pixels: Image.Image) -> np.ndarray[Any, Any]:
    """Return the outermost pixels (P, C)."""
    values = np.asarray(pixels).reshape(pixels.height, pixels.width, -1)
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _ground(image: Image.Image) -> tuple[int, ...] | int:
    """Return the colour that most of the border has, near enough: its median."""
    colour = tuple(int(value) for value in np.median(_border(image), axis=0))
    return colour if len(colour) > 1 else colour[0]


def _short(error: Exception, path: Path) -> str:
    """Return what went wrong without the path, which stands before it already."""
    text = getattr(error, "strerror", None) or str(error)
    return text.partition(" <_io.BytesIO")[0].replace(f" '{path}'", "").replace(f" {str(path)!r}", "")
