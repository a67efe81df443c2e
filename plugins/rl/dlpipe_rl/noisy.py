"""A linear layer with learned noise on its weights, for exploration.

Source: Fortunato et al. 2018, "Noisy Networks for Exploration", https://arxiv.org/abs/1706.10295, section 3,
factorized Gaussian noise, initialized as in section 3.2.
Departs from it: one sample of noise serves all observations of a batch and is renewed in each forward pass.
Axes: B observations, I inputs, O outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NoisyLinear(nn.Module):
    """A linear layer with learned noise during training, and without noise in evaluation mode.

    Args:
        sigma: initial scale of the noise, relative to the range of the initial weights.
    """

    def __init__(self, inputs: int, outputs: int, *, sigma: float = 0.5) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), sigma * bound))
        self.bias_sigma = nn.Parameter(torch.full((outputs,), sigma * bound))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, I) to (B, O)."""
        if not self.training:
            return F.linear(features, self.weight, self.bias)
        rows, columns = _noise(self.bias), _noise(self.weight[0])  # (O,), (I,)
        weight = self.weight + self.weight_sigma * torch.outer(rows, columns)
        return F.linear(features, weight, self.bias + self.bias_sigma * rows)


def _noise(like: Tensor) -> Tensor:
    """Return f(ε) with f(x) = sign(x) √|x|, so that the product of two samples has about the scale of one ε."""
    noise = torch.randn_like(like)
    return noise.sign() * noise.abs().sqrt()
