"""A recurrent network of one unit: small enough to see all of its error surface.

Source: with a linear unit, H. Lee, "Recurrent Neural Network", lecture slides; with a sigmoid, Pascanu, Mikolov &
Bengio 2013, "On the difficulty of training recurrent neural networks", figure 6, https://arxiv.org/abs/1211.5063
Axes: B sequences, T positions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.errors import InputError
from dlpipe.fields import NonNegative, NonNegativeFloat

ACTIVATIONS = {"linear": nn.Identity(), "sigmoid": nn.Sigmoid()}


class OneUnit(nn.Module):
    """One unit that feeds itself: x_1 = u_1, x_t = w f(x_(t-1)) + b + u_t, and the output is f(x_T).

    Args:
        num_features: numbers per position; only 1 is possible.
        activation: f.
        weight: w before training.
        bias: b before training.
        init_std: standard deviation of random numbers that are added to w and b before training.
        learn_bias: whether training changes b.
        path_length: number of training steps whose w and b are kept, for the figure of ``text.error_surface`` (without
            averaged weights).
    """

    path: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        activation: Literal["linear", "sigmoid"] = "linear",
        weight: float = 1.0,
        bias: float = 0.0,
        init_std: NonNegativeFloat = 0.0,
        learn_bias: bool = True,
        path_length: NonNegative = 200,
    ) -> None:
        super().__init__()
        if num_features != 1:
            raise InputError(
                f"num_features = {num_features}: this network has one unit and one input; use data with one number per "
                "position, such as text.impulse"
            )
        self.weight = nn.Parameter(weight + init_std * torch.randn(()))
        self.bias = nn.Parameter(bias + init_std * torch.randn(()), requires_grad=learn_bias)
        self.activation = ACTIVATIONS[activation]
        # Part of the model, so that a resumed run and a later evaluation draw the same path.
        self.register_buffer("path", torch.full((path_length, 2), torch.nan))

    def forward(self, features: Tensor) -> Tensor:
        """Map inputs (B, T, 1) to outputs (B,)."""
        return self.unroll(features)[0]

    def unroll(self, features: Tensor) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Return the outputs (B,) and the states of each position, a tuple of tensors (1, B, 1)."""
        first, *inputs = features.unbind(1)
        state = first[None]
        states: list[tuple[Tensor, ...]] = [(state,)]
        for value in inputs:
            state = self.weight * self.activation(state) + self.bias + value
            states.append((state,))
        return self.activation(state)[0, :, 0], states

    def loss(self, outputs: Tensor, targets: Tensor, step: int | None) -> Tensor:
        """Return the mean squared error, and keep the weights of a training step."""
        if step is not None and step < len(self.path):
            self.path[step] = torch.stack([self.weight, self.bias]).detach()
        return F.mse_loss(outputs, targets)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the outputs (B,)."""
        return outputs
