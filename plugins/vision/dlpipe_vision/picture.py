"""Conversion of a user's picture, of any size and colors, into the format of the training images."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dlpipe.errors import InputError

#: The formats that Pillow may read. It knows others that start programs (PostScript runs Ghostscript).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
#: Suffixes of image files.
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
#: A picture with more pixels than this (100 megapixels) is an attack or a mistake.
MAX_PIXELS = 100_000_000
#: The tag of a TIFF that gives the bits per sample (TIFF 6.0, section 8): 12-bit images are read as 16-bit ones.
BITS_PER_SAMPLE = 258
#: The tag of a TIFF that says which of its values is white, and what it says if that is 0 (TIFF 6.0, section 3). Pillow
#: converts such images only if they have 8 bits or fewer.
PHOTOMETRIC_INTERPRETATION, WHITE_IS_ZERO = 262, 0
#: A picture whose border is brighter than this (of 255) has a light background.
LIGHT_BACKGROUND = 160


def open_image(path: Path, content: bytes | None = None) -> Image.Image:
    """Read and decode an image, rotated as its Exif data says, with white behind transparent pixels.

    The range of a pixel follows from the type of the file, never from its content: 8 and 16 bits are divided by 255 and
    65,535, floating point is taken as it is.

    Args:
        content: the bytes of the file if it was read already; `path` is then only used in messages.

    Returns:
        An image of mode "L" or "RGB" (bytes), or "F" if the file has grey of more than 8 bits (0 to 255). Pillow reads
        colors of 16 bits, and grey of 16 bits with an alpha channel, as colors of 8 bits.

    Raises:
        InputError: the file does not exist, is not an image, is truncated, has more than 100 million pixels, or has
            pixels whose range is unknown.
    """
    try:
        # Pillow maps some files into memory if it gets their name, and then scrambles TIFFs that are to be rotated.
        content = path.read_bytes() if content is None else content
        if not content:
            raise InputError(f"{path}: the file is empty; expected an image")
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"{path}: {image.width}×{image.height} pixels; expected at most {MAX_PIXELS:,}; make it smaller"
                )
            image.load()
            white = _white(image, path)
            turned = ImageOps.exif_transpose(image)
            if white is None:
                return _to_plain_mode(turned)
            inverted = _tag(image, PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO
            return _to_float(turned, white, path, inverted=inverted)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too many pixels; expected at most {MAX_PIXELS:,}; make it smaller") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected an image") from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path} cannot be read as an image: unknown format; expected PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM"
        ) from error
    except (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error, zlib.error) as error:
        raise InputError(f"{path} cannot be read as an image: {_reason(error)}") from error


def _white(image: Image.Image, path: Path) -> float | None:
    """Return the value of white in an image of more than 8 bits per pixel and channel, None for 8 bits or fewer."""
    if image.mode == "F":
        return 1.0
    if image.mode == "I" and image.format == "TIFF":
        raise InputError(
            f"{path}: signed or 32-bit whole numbers; expected 8 or 16 bits without sign, or floating point from "
            "0 to 1; convert the file"
        )
    if not image.mode.startswith("I"):
        return None
    (bits,) = _tag(image, BITS_PER_SAMPLE) or (16,)
    return float(2**bits - 1)


def _tag(image: Image.Image, tag: int) -> Any:
    """Return the value of a tag of a TIFF; None if the image is no TIFF, or has no such tag."""
    return getattr(image, "tag_v2", {}).get(tag)


def _to_float(image: Image.Image, white: float, path: Path, *, inverted: bool) -> Image.Image:
    """Return a grey image of mode "F" from 0 to 255.

    Args:
        inverted: 0 is white in the file, and `white` is black.
    """
    values = np.asarray(image).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= white):  # NaN too
        raise InputError(
            f"{path}: floating-point pixels from {low:g} to {high:g}; expected 0 to 1; scale all images of the data "
            "set in the same way"
        )
    if inverted:
        values = white - values
    if isinstance(transparent := image.info.get("transparency"), int):
        values[values == transparent] = white
    return Image.fromarray(values * np.float32(255) / np.float32(white))


def _to_plain_mode(image: Image.Image) -> Image.Image:
    """Return an image of bytes in mode "L" or "RGB"."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
        colors = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colors.size, "white"), colors).convert(mode)
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


def read_picture(
    path: Path, shape: tuple[int, int, int], *, light_on_dark: bool, content: bytes | None = None
) -> tuple[Tensor, list[str]]:
    """Return an image as numbers from 0 to 255 (C, H, W), and notes about the changes made to it.

    Args:
        shape: (C, H, W) of the training images.
        light_on_dark: whether they are light on dark; if so, a picture with a light background is inverted.
        content: the bytes of the file if it was read already; `path` is then only used in messages.

    Raises:
        InputError: see `open_image`.
    """
    channels, height, width = shape
    image = open_image(path, content)
    notes = []
    mode = "L" if channels == 1 else "RGB"
    if image.mode not in ((mode, "F") if mode == "L" else (mode,)):
        image = in_mode(image, mode)
        notes.append("converted to grey" if mode == "L" else "converted from grey to color")
    if light_on_dark and np.median(_border(image)) > LIGHT_BACKGROUND:
        image = image.point(lambda value: value * -1 + 255) if image.mode == "F" else ImageOps.invert(image)
        notes.append("inverted, as the training images are light on dark")
    if image.size != (width, height):
        notes.append(f"resized from {image.width}×{image.height} to {width}×{height}")
        if image.width * height != image.height * width:
            notes[-1] += " with a border, to keep its aspect ratio"
        image = fitted(image, width, height)
    return to_tensor(image, mode), notes


def in_mode(image: Image.Image, mode: str | None) -> Image.Image:
    """Return an image in mode "L" or "RGB"; grey of more than 8 bits stays as it is, see `to_tensor`."""
    return image if mode is None or image.mode in (mode, "F") else image.convert(mode)


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return an image resized to width × height; a border in its background color keeps its aspect ratio."""
    color: Any = _background(image)  # Pillow takes a float for mode "F", but its annotation does not say so
    # The size that Pillow would choose, but never 0 pixels, which would leave only the border of a long strip.
    inner = (
        min(width, max(1, round(image.width / image.height * height))),
        min(height, max(1, round(image.height / image.width * width))),
    )
    return ImageOps.pad(image.resize(inner, Image.Resampling.LANCZOS), (width, height), color=color)


def to_tensor(image: Image.Image, mode: str | None = None) -> Tensor:
    """Return an image (C, H, W) as bytes, or as floating point from 0 to 255 if it has more than 8 bits.

    Args:
        mode: "RGB" repeats grey for three channels.
    """
    if image.mode == "F":  # resampling may overshoot
        return torch.from_numpy(np.array(image)).clamp_(0, 255).expand(3 if mode == "RGB" else 1, -1, -1)
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous()


def to_pixels(picture: Tensor) -> np.ndarray[Any, Any]:
    """Return bytes (C, H, W) in the layout for display: (H, W, 3) if there are three channels, else grey (H, W)."""
    return (picture.permute(1, 2, 0) if len(picture) == 3 else picture.float().mean(0).byte()).numpy()


def _border(pixels: Image.Image) -> np.ndarray[Any, Any]:
    """Return the outermost pixels (P, C)."""
    values = np.asarray(pixels).reshape(pixels.height, pixels.width, -1)
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _background(image: Image.Image) -> tuple[int, ...] | float:
    """Return the background color: the median of the border."""
    color = np.median(_border(image), axis=0)
    if image.mode == "F":
        return float(color[0])
    return tuple(map(int, color)) if len(color) > 1 else int(color[0])


def _reason(error: Exception) -> str:
    """Return the text of an error without the name of a file, which the message contains already."""
    return (getattr(error, "strerror", None) or str(error)).partition(" <_io.BytesIO")[0]
