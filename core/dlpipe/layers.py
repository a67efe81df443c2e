"""Layers and initial weights that models of several domains share, by name.

Sources of the initial weights: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural
networks", eq. 16 (glorot_uniform); He et al. 2015, "Delving Deep into Rectifiers", eq. 10,
https://arxiv.org/abs/1502.01852 (he_normal; not truncated, unlike in Keras).

Sources of the activations: Maas et al. 2013, "Rectifier Nonlinearities Improve Neural Network Acoustic Models"
(leaky_relu); Clevert et al. 2016, https://arxiv.org/abs/1511.07289 (elu); Hendrycks & Gimpel 2016,
https://arxiv.org/abs/1606.08415 (gelu, and section 4 silu).

Sources of the connections: He et al. 2016, "Deep Residual Learning for Image Recognition", section 3.1,
https://arxiv.org/abs/1512.03385 (residual); Srivastava et al. 2015, "Highway Networks", section 2,
https://arxiv.org/abs/1505.00387 (highway).
"""

from __future__ import annotations

from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

__all__ = [
    "Activation",
    "Connection",
    "InitialWeights",
    "Maxout",
    "SkipConnection",
    "activation_layer",
    "initialized",
    "units_per_output",
]

#: Activations of linear and convolutional layers; one of them, Maxout, is learned.
Activation = Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "maxout"]
#: Schemes of initial weights; "torch" is torch's own.
InitialWeights = Literal["glorot_uniform", "he_normal", "torch"]
#: How the input of layers is combined with their output: not at all, by a sum, or by a gate.
Connection = Literal["plain", "residual", "highway"]
#: Those without parameters, with torch's defaults: a slope of 0.01 for leaky ReLU, the exact GELU.
ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
LayerT = TypeVar("LayerT", bound=nn.Linear | nn.Conv2d)


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


class SkipConnection(nn.Module):
    """Layers H with a shortcut around them: H(x) + x, with a gate T(x) H(x) + (1 - T(x)) x, or H(x) alone.

    Args:
        layers: H.
        connection: "residual", "highway" or "plain".
        shortcut: takes the place of x in the sum where H has outputs of another shape; x itself by default.
        gate: a layer from x to one number per output of H; T is its sigmoid. Needed by "highway".
        gate_bias: initial bias of the gate; below 0, T starts nearly closed, and the input passes.
        activation: applied to the result.
    """

    def __init__(
        self,
        layers: nn.Module,
        connection: Connection,
        *,
        shortcut: nn.Module | None = None,
        gate: nn.Linear | nn.Conv2d | None = None,
        gate_bias: float = -2.0,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = shortcut or nn.Identity()
        self.gate: nn.Module | None = None
        if connection == "highway":
            assert gate is not None
            assert gate.bias is not None
            nn.init.constant_(gate.bias, gate_bias)
            self.gate = nn.Sequential(gate, nn.Sigmoid())
        self.activation = activation or nn.Identity()
        self._connection = connection

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, ...) to those that the layers and the connection make of them (B, ...)."""
        outputs: Tensor = self.layers(features)
        if self._connection == "residual":
            outputs = outputs + self.shortcut(features)
        elif self.gate is not None:
            carried = self.shortcut(features)
            outputs = carried + self.gate(features) * (outputs - carried)
        activated: Tensor = self.activation(outputs)
        return activated

    def bypass(self, features: Tensor) -> Tensor:
        """Map features (B, ...) to what is left of the result without the layers (B, ...)."""
        left: Tensor = self.activation(self.shortcut(features))
        return left


def activation_layer(activation: Activation, maxout_pieces: int) -> nn.Module:
    """Return the layer of an activation."""
    if activation == "maxout":
        return Maxout(maxout_pieces)
    return ACTIVATIONS[activation]()


def units_per_output(activation: Activation, maxout_pieces: int) -> int:
    """Return how many linear units the activation reduces to one output."""
    return maxout_pieces if activation == "maxout" else 1


def initialized(layer: LayerT, init: InitialWeights, pieces: int = 1) -> LayerT:
    """Reinitialize the weights of a layer, set its biases to zero and return it.

    "torch" leaves the layer as torch created it: weights and biases uniform within 1 / sqrt(fan in).

    Args:
        pieces: outputs of the layer that belong to one Maxout unit and are next to each other. Each piece
            is initialized like a layer of its own; all of them together would have too large a fan out.
    """
    if init == "torch":
        return layer
    initialize = nn.init.xavier_uniform_ if init == "glorot_uniform" else nn.init.kaiming_normal_
    with torch.no_grad():
        for piece in layer.weight.unflatten(0, (-1, pieces)).unbind(1):
            initialize(piece)
        if layer.bias is not None:
            layer.bias.zero_()
    return layer
