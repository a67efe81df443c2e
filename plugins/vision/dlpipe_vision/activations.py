"""Activations of linear and convolutional layers, by name; one of them, Maxout, is learned."""

from typing import Literal

from torch import Tensor, nn

Activation = Literal["sigmoid", "tanh", "relu", "maxout"]


class Maxout(nn.Module):
    """The largest of k linear pieces: a convex function that is learned.

    Source: Goodfellow et al. 2013, "Maxout Networks", section 3, https://arxiv.org/abs/1302.4389

    Args:
        pieces: k; with 1 the unit is linear.
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, U * k, ...), the pieces of a unit next to each other, to (B, U, ...)."""
        largest: Tensor = features.unflatten(1, (-1, self.pieces)).amax(2)
        return largest


def activation_layer(activation: Activation, maxout_pieces: int) -> nn.Module:
    """Return the layer of an activation."""
    if activation == "maxout":
        return Maxout(maxout_pieces)
    return {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}[activation]()


def units_per_output(activation: Activation, maxout_pieces: int) -> int:
    """Return how many linear units the activation reduces to one output."""
    return maxout_pieces if activation == "maxout" else 1
