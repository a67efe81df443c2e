"""What a discriminator and a generator each try to make small.

Sources: Goodfellow et al. 2014, section 3 (non-saturating); Salimans et al. 2016, "Improved Techniques for Training
GANs", https://arxiv.org/abs/1606.03498, section 3.4 (one-sided label smoothing);
Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", https://arxiv.org/abs/1704.00028,
eq. 3 (gradient penalty); Lim & Ye 2017, "Geometric GAN" (hinge).
Axes: B things of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

LossName = Literal["non_saturating", "wgan_gp", "hinge"]


def discriminator_loss(name: LossName, real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return what the discriminator makes small, of its scores (B,) of real things and of drawn ones.

    Args:
        smoothing: the probability that real things are said not to be real; of "non_saturating" alone.
    """
    if name == "non_saturating":
        return F.binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - smoothing)) + F.softplus(fake).mean()
    if name == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return fake.mean() - real.mean()


def generator_loss(name: LossName, fake: Tensor) -> Tensor:
    """Return what the generator makes small, of the scores (B,) of what it drew."""
    return F.softplus(-fake).mean() if name == "non_saturating" else -fake.mean()


def gradient_penalty(score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    """Return how far the gradient of scores is from length 1 between real things and drawn ones, (B, …) each.

    Args:
        score: maps things to scores (B,).
        shares: (B,) how much of each is real, from 0 to 1.
    """
    weights = shares.view(-1, *[1] * (real.dim() - 1))
    between = (weights * real + (1 - weights) * fake).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(score(between).sum(), [between], create_graph=True)
    lengths: Tensor = gradients.flatten(1).norm(dim=1)
    return (lengths - 1).square().mean()
