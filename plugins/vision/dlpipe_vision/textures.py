"""``vision.textures``: color textures of ten kinds, drawn when they are needed: no files.

Colors, period, orientation and position of a texture do not depend on its kind, so that a classifier has to know its
local structure. Each image depends only on the seed, its split and its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field, Strict

from dlpipe.compute import derived_seed
from dlpipe.fields import Fraction, NonNegativeFloat, OpenFraction, Positive
from dlpipe_vision.augment import Augment
from dlpipe_vision.distinct import require_distinct
from dlpipe_vision.image_sets import ImageSet, ImageSplits
from dlpipe_vision.labeled_images import LabeledImages, Normalize
from dlpipe_vision.texture_drawing import TEXTURES, draw_texture

Texture = Literal["stripes", "waves", "checks", "dots", "rings", "bricks", "scales", "weave", "clouds", "cells"]
Imbalance = Annotated[float, Strict(), Field(ge=1, allow_inf_nan=False)]


def textures(
    *,
    size: Positive = 32,
    classes: Annotated[Sequence[Texture], Field(min_length=2)] | None = None,
    train_size: Positive = 3000,
    test_size: Positive = 500,
    dev_size: OpenFraction | Positive = 0.1,
    normalize: Normalize = "standardize",
    augment: Augment | None = None,
    noise: NonNegativeFloat = 0.0,
    imbalance: Imbalance = 1.0,
    grain: Fraction = 0.0,
    seed: int = 0,
) -> LabeledImages:
    """Color textures of ten kinds (stripes, waves, checks, dots, rings, bricks, scales, weave, clouds, cells).

    The elements of a texture are 8 to 13 pixels apart, whatever the size of the image.

    Args:
        size: height and width of the images, in pixels.
        classes: only these kinds, such as ["dots", "rings"]; by default all ten.
        train_size: number of training images, equally many of each class.
        test_size: number of test images.
        dev_size: how many training images to hold out as the dev split, or which share of them.
        normalize: "standardize" (mean 0, standard deviation 1 over the training images), "unit" (0 to 1),
            "symmetric" (-1 to 1), "none" (0 to 255) or statistics of
            pixels from 0 to 1 by channel: { mean = […], std = […] }.
        augment: random changes to training images, such as { flip = true, noise = 0.1 }.
        noise: standard deviation of the noise added to every pixel (0 to 1) of evaluation images.
        imbalance: how many times more training images (not of the dev split) there are of the first class than of the
            last; those between decay exponentially. To study classes of unequal size.
        grain: largest standard deviation of the grain of an image, noise that is in the image itself: each has its own,
            from 0 to this.
        seed: of the textures; another one gives others, of the same kinds.
    """
    kinds: list[str] = list(TEXTURES if classes is None else classes)
    require_distinct("classes", kinds)
    return LabeledImages(
        partial(_draw, kinds, size, {"train": train_size, "test": test_size}, grain, seed),
        dev_size=dev_size,
        normalize=normalize,
        augment=augment,
        noise=noise,
        imbalance=imbalance,
    )


def _draw(kinds: Sequence[str], size: int, counts: dict[str, int], grain: float, seed: int) -> ImageSplits:
    """Draw all splits; the kinds of the images of a split take turns."""
    sets = {}
    for split, count in counts.items():
        images = torch.empty(count, 3, size, size, dtype=torch.uint8)
        for number in range(count):
            generator = torch.Generator().manual_seed(derived_seed(seed, "texture", split, number))
            texture = draw_texture(kinds[number % len(kinds)], size, generator)
            strength = grain * torch.rand((), generator=generator)
            noise = torch.randn(texture.shape, generator=generator)
            images[number] = (texture + strength * noise).clamp(0, 1).mul(255).round()
        sets[split] = ImageSet(images, torch.arange(count) % len(kinds))
    return ImageSplits(kinds, sets)
