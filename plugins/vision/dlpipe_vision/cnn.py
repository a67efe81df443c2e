"""Convolutional network that scores classes for an image, with the layers that the pipeline file lists.

Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II;
the default is the network of Keras' example ``mnist_cnn``.
Departs from it: ReLU, max pooling and dropout. It computes cross-correlations, as is usual: filters are not flipped.
Axes: B images, C channels, H rows, W columns, K classes.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from math import prod
from typing import Annotated

import torch
from torch import Tensor, nn

from dlpipe.fields import OnlyWith, Positive
from dlpipe.layers import Activation, InitialWeights, activation_layer, initialized, units_per_output
from dlpipe_vision.layer_tables import Layer, ParsedLayer, layout, parse_layers


class CNN(nn.Module):
    """Score K classes for images with filters that are shared by all positions in the image.

    Args:
        image_shape: C, H, W.
        num_classes: K.
        layers: the layers in order, such as { conv = 32, kernel = 3 }, { pool = 2 }, { dense = 128 }.
        activation: after every convolution and dense layer.
        maxout_pieces: number of linear pieces of a Maxout unit, which returns the largest of them.
        init: initial weights: Glorot uniform or He normal with zero biases, or torch's own.

    Attributes:
        layers: one module for each entry of the argument, with parts such as ``layers.0.conv`` and ``layers.0.norm``.
        classifier: from the flattened output of the last of them to the logits.
        layout: the layers and the shape of each output, one per line.

    Raises:
        ValueError: an entry of `layers` is not valid; the message names it, counted from 0.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        layers: Sequence[Layer] = (
            {"conv": 32, "padding": 0},
            {"conv": 64, "padding": 0},
            {"pool": 2},
            {"dropout": 0.25},
            {"dense": 128},
            {"dropout": 0.5},
        ),
        activation: Activation = "relu",
        maxout_pieces: Annotated[Positive, OnlyWith(activation="maxout")] = 2,
        init: InitialWeights = "glorot_uniform",
    ) -> None:
        super().__init__()
        parsed = parse_layers(layers, image_shape)
        self.layers = nn.Sequential(
            *(nn.Sequential(OrderedDict(_modules(layer, activation, maxout_pieces, init))) for layer in parsed)
        )
        shape = parsed[-1].out_shape if parsed else tuple(image_shape)
        self.classifier = initialized(nn.Linear(prod(shape), num_classes), init)
        # A convolution with channels_last weights also returns its output in channels_last, whatever its input.
        # This saves a third of the step time of deep networks on a CPU, and costs the others nothing.
        self.to(memory_format=torch.channels_last)
        self.layout = layout(parsed, image_shape, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, K)."""
        logits: Tensor = self.classifier(self.layers(images).flatten(1))
        return logits


class GlobalMaxPool(nn.Module):
    """The largest value of each whole channel, as ``nn.AdaptiveMaxPool2d(1)`` has it.

    Its gradient is deterministic also on a CUDA GPU, where torch has no such implementation of the latter's.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to (B, C, 1, 1)."""
        return images.flatten(2).max(2).values[:, :, None, None]


def _modules(
    layer: ParsedLayer, activation: Activation, maxout_pieces: int, init: InitialWeights
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of one entry of `layers` with their names."""
    table, pieces = layer.table, units_per_output(activation, maxout_pieces)
    match layer.type:
        case "conv":
            width = table["conv"] * pieces
            # A batch norm has a bias of its own.
            conv = nn.Conv2d(layer.in_shape[0], width, *layer.convolution, bias=not layer.norm)
            yield "conv", initialized(conv, init, pieces)
            if layer.norm:
                yield "norm", nn.BatchNorm2d(width)
            yield "activation", activation_layer(activation, maxout_pieces)
        case "pool":
            yield "pool", nn.MaxPool2d(table["pool"])
        case "average_pool":
            yield "average_pool", nn.AvgPool2d(table["average_pool"])
        case "global_pool":
            average = table["global_pool"] == "average"
            yield "global_pool", nn.AdaptiveAvgPool2d(1) if average else GlobalMaxPool()
        case "dropout":
            yield "dropout", nn.Dropout(table["dropout"])
        case "dense":
            if len(layer.in_shape) == 3:
                yield "flatten", nn.Flatten()
            width = table["dense"] * pieces
            yield "dense", initialized(nn.Linear(prod(layer.in_shape), width, bias=not layer.norm), init, pieces)
            if layer.norm:
                yield "norm", nn.BatchNorm1d(width)
            yield "activation", activation_layer(activation, maxout_pieces)
