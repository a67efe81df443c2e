"""Losses of discriminators and generators.

Sources: Goodfellow et al. 2014, section 3 (non-saturating); Salimans et al. 2016, "Improved Techniques for Training
GANs", https://arxiv.org/abs/1606.03498, section 3.4 (one-sided label smoothing);
Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", https://arxiv.org/abs/1704.00028,
eq. 3 (gradient penalty); Lim & Ye 2017, "Geometric GAN" (hinge).
Axes: B samples of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

LossName = Literal["non_saturating", "wgan_gp", "hinge"]


def discriminator_loss(name: LossName, real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the loss of the discriminator for its scores (B,) of real and of generated samples.

    Args:
        smoothing: how much less than 1 the target of real samples is; "non_saturating" only.
    """
    if name == "non_saturating":
        return F.binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - smoothing)) + F.softplus(fake).mean()
    if name == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return fake.mean() - real.mean()


def generator_loss(name: LossName, fake: Tensor) -> Tensor:
    """Return the loss of the generator for the scores (B,) of its samples."""
    return F.softplus(-fake).mean() if name == "non_saturating" else -fake.mean()


def gradient_penalty(score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    """Return the mean squared deviation from 1 of the gradient norm of scores between real and generated samples.

    Args:
        score: maps samples (B, …) to scores (B,).
        shares: (B,) weight of the real sample in each interpolation, from 0 to 1.
    """
    weights = shares.view(-1, *[1] * (real.dim() - 1))
    between = (weights * real + (1 - weights) * fake).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(score(between).sum(), [between], create_graph=True)
    lengths: Tensor = gradients.flatten(1).norm(dim=1)
    return (lengths - 1).square().mean()
