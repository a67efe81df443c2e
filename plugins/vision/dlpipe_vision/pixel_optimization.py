"""Style transfer that changes the pixels of an image until a network sees the style of another one in it.

Source: Gatys et al. 2016, "Image Style Transfer Using Convolutional Neural Networks", section 2,
https://doi.org/10.1109/CVPR.2016.265
Departs from it: Adam instead of L-BFGS, so that images are optimized together without an influence on each other; the
error of each Gram matrix is divided by its size, so that all layers count the same whatever the scale of their
activations; pixels stay from 0 to 1.
Axes: B images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dlpipe.progress import tracked
from dlpipe_vision.style_statistics import EPSILON, gram_matrix

#: Of Adam, whose steps are about this long for each pixel.
LEARNING_RATE = 0.05
#: How much the content counts compared with the style. Gatys et al. use 0.001 to 0.0001, for losses of another scale.
CONTENT_WEIGHT = 0.02
Encode = Callable[[Tensor], Mapping[str, Tensor]]


def optimize_pixels(encode: Encode, images: Tensor, styles: Tensor, *, content_layer: str, steps: int) -> Tensor:
    """Return images (B, C, H, W) from 0 to 1 after `steps` steps towards the styles of others (B, C, ·, ·).

    The optimization starts from the images.

    Args:
        encode: returns maps by layer; the Gram matrices of all of them are the style.
        content_layer: the layer that should be as in `images`.
    """
    with torch.no_grad():
        content = encode(images)[content_layer]
        grams = {layer: gram_matrix(maps) for layer, maps in encode(styles).items()}
    with torch.enable_grad():
        pixels = images.clone().requires_grad_()
        optimizer = torch.optim.Adam([pixels], LEARNING_RATE)
        for _ in tracked(range(steps), "steps of pixels"):
            maps = encode(pixels)
            loss = CONTENT_WEIGHT * (maps[content_layer] - content).square().mean((1, 2, 3)).sum()
            for layer, gram in grams.items():
                loss = loss + gram_distance(gram_matrix(maps[layer]), gram).sum()
            (pixels.grad,) = torch.autograd.grad(loss, [pixels])
            optimizer.step()
            with torch.no_grad():
                pixels.clamp_(0, 1)
    return pixels.detach()


def gram_distance(grams: Tensor, others: Tensor) -> Tensor:
    """Return the squared distance (B,) of Gram matrices (B, C, C) to others, relative to the squared size of these."""
    return (grams - others).square().sum((1, 2)) / others.square().sum((1, 2)).clamp_min(EPSILON)
