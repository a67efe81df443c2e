"""What describes the style of an image: statistics of feature maps over all positions.

Sources: Gatys et al. 2016, "Image Style Transfer Using Convolutional Neural Networks", section 2.2,
https://doi.org/10.1109/CVPR.2016.265; Huang & Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive
Instance Normalization", https://arxiv.org/abs/1703.06868, equations 5, 6 and 8.
Departs from them: a Gram matrix is a mean over positions, so that images of different sizes can be compared.
Axes: B images, C channels, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Added to variances: a channel that is the same everywhere has a standard deviation that can be divided by, and
#: differentiated.
EPSILON = 1e-5


def channel_statistics(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (B, C) of each channel of maps (B, C, H, W) over all positions."""
    variance, mean = torch.var_mean(maps, (2, 3), correction=0)
    return mean, (variance + EPSILON).sqrt()


def adaptive_instance_norm(maps: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return maps (B, C, H, W) whose channels have another mean and standard deviation (B, C): equation 8."""
    own_mean, own_std = channel_statistics(maps)
    scale = std / own_std
    return maps * scale[:, :, None, None] + (mean - own_mean * scale)[:, :, None, None]


def gram_matrix(maps: Tensor) -> Tensor:
    """Return the products of all pairs of channels (B, C, C) of maps (B, C, H, W), means over all positions."""
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.size(2)
