"""Convolutional net that scores classes for an image, its layers as the pipeline lists them.

Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II;
the default is the net of Keras' example ``mnist_cnn``.
Departs from it: ReLU, max pooling and dropout. Like all such nets it correlates: filters are not flipped.
Axes: B images, C channels, H rows, W columns, K classes.
"""

import json
from collections.abc import Sequence
from math import prod
from typing import Literal, TypedDict

import torch
from torch import Tensor, nn

from dlpipe.fields import NonNegative, OpenFraction, Positive
from dlpipe_vision.activations import Activation, activation_layer, pieces_of
from dlpipe_vision.initial_weights import InitialWeights, initialised

#: Every kind of layer, with the keys that may stand beside it.
KINDS: dict[str, tuple[str, ...]] = {
    "conv": ("kernel", "stride", "padding", "norm"),
    "pool": (),
    "average_pool": (),
    "global_pool": (),
    "dropout": (),
    "dense": ("norm",),
}
NEED_IMAGES = {"conv", "pool", "average_pool", "global_pool"}


class Layer(TypedDict, total=False):
    """One entry of `layers`: exactly one of conv, pool, average_pool, global_pool, dropout, dense.

    Args:
        conv: output channels of a convolution; the activation follows.
        kernel: of a convolution, rows and columns of its filters; 3 unless given.
        stride: of a convolution, pixels from one place of the filter to the next; 1 unless given.
        padding: of a convolution, zeros around the image; kernel // 2 unless given, 0 for none.
        norm: of a convolution or dense layer, batch normalisation before the activation.
        pool: rows and columns of which the largest value stays; also the stride.
        average_pool: rows and columns of which the mean stays; also the stride.
        global_pool: what of each whole channel stays.
        dropout: probability of zeroing a value.
        dense: units of a fully connected layer; the activation follows.
    """

    conv: Positive
    kernel: Positive
    stride: Positive
    padding: NonNegative
    norm: bool
    pool: Positive
    average_pool: Positive
    global_pool: Literal["average", "max"]
    dropout: OpenFraction
    dense: Positive


class CNN(nn.Module):
    """Score K classes for images by filters that are the same everywhere in the image.

    What stands before the first dense layer, or the classifier, is flattened.

    Args:
        image_shape: C, H, W.
        num_classes: K.
        layers: what follows what, such as { conv = 32, kernel = 3 }, { pool = 2 }, { dense = 128 }.
        activation: behind every convolution and dense layer.
        maxout_pieces: linear pieces of which a Maxout unit is the largest.
        init: first weights, Glorot's uniform or He's normal with biases of zero, or torch's own.

    Attributes:
        layout: the layers and what comes out of each, one a line.

    Raises:
        ValueError: naming the entry of `layers` that cannot be, counted from 0.
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
        maxout_pieces: Positive = 2,
        init: InitialWeights = "glorot_uniform",
    ) -> None:
        super().__init__()
        stack = _Stack(image_shape, activation, maxout_pieces, init)
        lines = [f"images {stack}"]
        for number, layer in enumerate(layers):
            stack.add(f"layers[{number}]", layer)
            lines.append(f"{_toml(layer)} {stack}")
        classifier = initialised(nn.Linear(stack.flatten(), num_classes), init)
        self.layers = nn.Sequential(*stack.modules, classifier)
        # A convolution whose weights are in this order hands its maps on in it, whatever the images were in.
        # It takes a third off the steps of deep nets on a CPU, and costs the others nothing.
        self.to(memory_format=torch.channels_last)
        self.layout = "\n".join([*lines, f"classifier {num_classes}"])

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, K)."""
        logits: Tensor = self.layers(images)
        return logits


class _Stack:
    """Layers on top of each other, each made for what the one below puts out.

    Attributes:
        modules: the layers so far.
        shape: what the last of them puts out, (C, H, W) or, once it is flat, (units,).
    """

    def __init__(
        self, image_shape: tuple[int, int, int], activation: Activation, maxout_pieces: int, init: InitialWeights
    ) -> None:
        self.modules: list[nn.Module] = []
        self.shape: tuple[int, ...] = tuple(image_shape)
        self._activation, self._maxout_pieces, self._init = activation, maxout_pieces, init
        self._pieces = pieces_of(activation, maxout_pieces)

    def __str__(self) -> str:
        return "×".join(map(str, self.shape))

    def add(self, place: str, layer: Layer) -> None:
        """Put a layer on top, or raise a ValueError that begins with `place`."""
        kind = _kind(place, layer)
        if kind in NEED_IMAGES and len(self.shape) == 1:
            raise ValueError(
                f"{place} = {_toml(layer)}: a dense layer stands before it and leaves no image; "
                f"expected {kind} before the first dense"
            )
        match kind:
            case "conv":
                self._conv(place, layer)
            case "pool":
                self._pool(place, kind, layer["pool"], nn.MaxPool2d(layer["pool"]))
            case "average_pool":
                self._pool(place, kind, layer["average_pool"], nn.AvgPool2d(layer["average_pool"]))
            case "global_pool":
                self.modules.append(
                    {"average": nn.AdaptiveAvgPool2d, "max": nn.AdaptiveMaxPool2d}[layer["global_pool"]](1)
                )
                self.shape = (self.shape[0], 1, 1)
            case "dropout":
                self.modules.append(nn.Dropout(layer["dropout"]))
            case "dense":
                self._dense(layer)

    def flatten(self) -> int:
        """Make a row of numbers of every image, unless it is one already, and return how many they are."""
        if len(self.shape) == 3:
            self.modules.append(nn.Flatten())
            self.shape = (prod(self.shape),)
        return self.shape[0]

    def _conv(self, place: str, layer: Layer) -> None:
        channels, rows, columns = self.shape
        kernel, stride = layer.get("kernel", 3), layer.get("stride", 1)
        padding, norm = layer.get("padding", kernel // 2), layer.get("norm", False)
        if min(rows, columns) + 2 * padding < kernel:
            raise ValueError(
                f"{place}: conv with kernel = {kernel} and padding = {padding} of {rows}×{columns} images; "
                f"expected images of at least {kernel - 2 * padding}×{kernel - 2 * padding}: pool less before it, or "
                "choose a smaller kernel or more padding"
            )
        width = layer["conv"] * self._pieces
        conv = nn.Conv2d(channels, width, kernel, stride, padding, bias=not norm)  # a norm has a bias of its own
        self._weighted(conv, nn.BatchNorm2d(width) if norm else None)
        self.shape = (layer["conv"], *((size + 2 * padding - kernel) // stride + 1 for size in (rows, columns)))

    def _pool(self, place: str, kind: str, size: int, module: nn.Module) -> None:
        channels, rows, columns = self.shape
        if min(rows, columns) < size:
            raise ValueError(
                f"{place}: {kind} = {size} of {rows}×{columns} images; expected images of at least {size}×{size}: "
                "pool less before it, or leave it out"
            )
        self.modules.append(module)
        self.shape = (channels, rows // size, columns // size)

    def _dense(self, layer: Layer) -> None:
        norm, width = layer.get("norm", False), layer["dense"] * self._pieces
        self._weighted(nn.Linear(self.flatten(), width, bias=not norm), nn.BatchNorm1d(width) if norm else None)
        self.shape = (layer["dense"],)

    def _weighted(self, layer: nn.Conv2d | nn.Linear, norm: nn.Module | None) -> None:
        """Add a layer with first weights, its norm and its activation."""
        self.modules.append(initialised(layer, self._init, self._pieces))
        if norm is not None:
            self.modules.append(norm)
        self.modules.append(activation_layer(self._activation, self._maxout_pieces))


def _kind(place: str, layer: Layer) -> str:
    """Return which kind of layer an entry is, or raise a ValueError."""
    kinds = [key for key in layer if key in KINDS]
    if len(kinds) != 1:
        found = f"{' and '.join(kinds)} are {len(kinds)} layers" if kinds else "no kind of layer is named"
        raise ValueError(f"{place} = {_toml(layer)}: {found}; expected exactly one of {', '.join(KINDS)} per entry")
    (kind,) = kinds
    if strange := [key for key in layer if key != kind and key not in KINDS[kind]]:
        others = f"nothing but {', '.join(KINDS[kind])}" if KINDS[kind] else "nothing"
        raise ValueError(
            f"{place} = {_toml(layer)}: {strange[0]} does not belong to {kind}; expected {others} beside it"
        )
    return kind


def _toml(layer: Layer) -> str:
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in layer.items()) + " }"
