"""Fully connected network that scores classes for an image; without hidden layers, logistic regression.

Source: Hung-yi Lee, "Deep Learning Tutorial" (lecture), part I: 784-500-500-10 on MNIST.
Departs from it: ReLU by default, and logits as output, so that the cross-entropy is numerically stable.
Axes: B images, C channels, H rows, W columns, K classes.
"""

from collections.abc import Sequence
from math import prod
from typing import Annotated

from torch import Tensor, nn

from dlpipe.fields import NotWith, OnlyWith, OpenFraction, Positive
from dlpipe_vision.activations import Activation, activation_layer, units_per_output
from dlpipe_vision.initial_weights import InitialWeights, initialised


class MLP(nn.Module):
    """Score K classes for images, without using which pixels are neighbours.

    The initial weights are Glorot's with zero biases, as in Keras: with torch's own, which are smaller,
    the published scores of deep sigmoid and ReLU networks are not reproduced (a network of three sigmoid
    layers stays at chance where it should reach 85 %).

    Args:
        image_shape: C, H, W.
        num_classes: K.
        hidden: units of each hidden layer; without any, it is (multinomial) logistic regression.
        hidden_dim: units of every hidden layer, in place of `hidden`: so that size and number vary separately.
        num_layers: hidden layers of `hidden_dim` units.
        activation: after every hidden layer.
        maxout_pieces: number of linear pieces of a Maxout unit, which returns the largest of them.
        dropout: probability of zeroing a unit, after every hidden layer.
        input_dropout: probability of zeroing a pixel.
        init: initial weights: Glorot uniform or He normal with zero biases, or torch's own.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        hidden: Annotated[Sequence[Positive], NotWith("hidden_dim")] = (500, 500),
        hidden_dim: Positive | None = None,
        num_layers: Annotated[Positive, OnlyWith("hidden_dim")] = 2,
        activation: Annotated[Activation, OnlyWith("hidden")] = "relu",
        maxout_pieces: Annotated[Positive, OnlyWith(activation="maxout")] = 2,
        dropout: Annotated[OpenFraction, OnlyWith("hidden")] = 0.0,
        input_dropout: OpenFraction = 0.0,
        init: InitialWeights = "glorot_uniform",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten(), nn.Dropout(input_dropout)]
        pieces = units_per_output(activation, maxout_pieces)
        size = prod(image_shape)
        for units in [hidden_dim] * num_layers if hidden_dim else hidden:
            linear = initialised(nn.Linear(size, units * pieces), init, pieces)
            layers += [linear, activation_layer(activation, maxout_pieces), nn.Dropout(dropout)]
            size = units
        self.layers = nn.Sequential(*layers, initialised(nn.Linear(size, num_classes), init))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, K)."""
        logits: Tensor = self.layers(images)
        return logits
