"""Images that are nearly the same: the same picture encoded again, resized before, or slightly retouched.

Axes: N and M images, C channels, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Smaller images (digits) have too little detail: different ones look alike.
MIN_SIZE = 32
#: H and W of the thumbnails that are compared.
THUMBNAIL = 16
#: Root mean square difference (of 255) up to which two thumbnails show the same picture. Measured on 108 cuts of 64×64
#: pixels from the two photographs of scikit-learn: saved as JPEG of quality 50 at most 2.9, resized to 48×48 and back
#: at most 2.0; two different cuts with enough detail at least 12.
MAX_DIFFERENCE = 3.0
#: Standard deviation (of 255) below which a thumbnail is too blank to be compared.
MIN_DETAIL = 16.0
#: Most pairs that are compared, some seconds of work; more images than that are only compared exactly.
MAX_PAIRS = 1_000_000_000
_BLOCK = 256


def nearly_in(images: Tensor, others: Tensor) -> Tensor:
    """Return which images (N, C, H, W) are nearly one of `others` (M, C, H, W), all from 0 to 255: (N,) bool."""
    if min(images.shape[2:]) < MIN_SIZE or len(images) * len(others) > MAX_PAIRS:
        return torch.zeros(len(images), dtype=torch.bool)
    ours, theirs = _thumbnails(images), _thumbnails(others)
    detailed = ours.std(1, correction=0) >= MIN_DETAIL
    found = torch.zeros(len(images), dtype=torch.bool)
    # The means of two vectors differ by no more than their root mean square difference: sorted by their means, only
    # neighbors have to be compared.
    theirs = theirs[theirs.mean(1).argsort()]
    means, squares = theirs.mean(1), (theirs**2).sum(1)
    for rows in ours.mean(1).argsort().split(_BLOCK):
        part = ours[rows]
        low, high = part.mean(1).aminmax()
        near = slice(*torch.searchsorted(means, torch.stack([low - MAX_DIFFERENCE, high + MAX_DIFFERENCE])).tolist())
        if near.start < near.stop:
            distances = torch.addmm(squares[near], part, theirs[near].T, alpha=-2).amin(1) + (part**2).sum(1)
            found[rows] = distances <= MAX_DIFFERENCE**2 * part.shape[1]
    return found & detailed


def _thumbnails(images: Tensor) -> Tensor:
    """Return grey thumbnails of images (N, C, H, W) as vectors (N, 256) from -128 to 127."""
    parts = [
        functional.adaptive_avg_pool2d(part.float().mean(1, keepdim=True), THUMBNAIL) for part in images.split(_BLOCK)
    ]
    return torch.cat(parts).flatten(1) - 128
