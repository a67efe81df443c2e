"""The `layers` of a pipeline file: what an entry may contain, and the shapes that follow from it. Imports no torch.

Axes: C channels, H rows, W columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from dlpipe.fields import NonNegative, OpenFraction, Positive

#: Every layer type and its options.
OPTIONS: dict[str, tuple[str, ...]] = {
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
        kernel: rows and columns of a convolution's filters; 3 by default.
        stride: pixels between two positions of a convolution's filter; 1 by default.
        padding: zeros around the input of a convolution; kernel // 2 by default, 0 for none.
        norm: batch normalization before the activation of a convolution or dense layer.
        pool: window size and stride of max pooling.
        average_pool: window size and stride of average pooling.
        global_pool: average or maximum of each whole channel.
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


@dataclass(frozen=True)
class ParsedLayer:
    """A valid entry of `layers` with its defaults filled in.

    Args:
        type: the layer type, a key of `OPTIONS`.
        table: the entry as the file has it.
        in_shape: (C, H, W), or (units,) after a dense layer.
        out_shape: the same of its output.
    """

    type: str
    table: Layer
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    @property
    def norm(self) -> bool:
        """Whether batch normalization comes before the activation."""
        return self.table.get("norm", False)

    @property
    def convolution(self) -> tuple[int, int, int]:
        """Kernel, stride and padding of a convolution."""
        return _convolution(self.table)


def parse_layers(layers: Sequence[Layer], image_shape: tuple[int, int, int]) -> list[ParsedLayer]:
    """Check every entry against the output of the one before it.

    Raises:
        ValueError: an entry is not valid; the message starts with its position, counted from 0.
    """
    parsed: list[ParsedLayer] = []
    shape: tuple[int, ...] = tuple(image_shape)
    for number, layer in enumerate(layers):
        where = f"layers[{number}]"
        layer_type = _layer_type(where, layer)
        parsed.append(ParsedLayer(layer_type, layer, shape, _out_shape(where, layer_type, layer, shape)))
        shape = parsed[-1].out_shape
    return parsed


def layout(layers: Sequence[ParsedLayer], image_shape: tuple[int, int, int], num_classes: int) -> str:
    """Return the layers and the shape of each output, one per line."""
    lines = [f"{_toml(layer.table)} {_shown(layer.out_shape)}" for layer in layers]
    return "\n".join([f"images {_shown(image_shape)}", *lines, f"classifier {num_classes}"])


def _layer_type(where: str, layer: Layer) -> str:
    """Return the layer type of an entry, or raise a ValueError."""
    types = [key for key in layer if key in OPTIONS]
    if len(types) != 1:
        named = f"it names {len(types)} layer types ({', '.join(types)})" if types else "it names no layer type"
        raise ValueError(f"{where} = {_toml(layer)}: {named}; expected exactly one of {', '.join(OPTIONS)} per entry")
    (layer_type,) = types
    options = OPTIONS[layer_type]
    if unknown := [key for key in layer if key != layer_type and key not in options]:
        expected = f"{layer_type} takes only {', '.join(options)}" if options else f"{layer_type} takes no options"
        raise ValueError(
            f"{where} = {_toml(layer)}: {unknown[0]} is not an option of {layer_type}; {expected}; remove it"
        )
    return layer_type


def _out_shape(where: str, layer_type: str, layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a layer's output, or raise a ValueError if its input does not suit it."""
    if layer_type in NEED_IMAGES and len(shape) == 1:
        raise ValueError(
            f"{where} = {_toml(layer)}: {layer_type} needs images, but a dense layer before it has flattened them; "
            f"move {layer_type} before the first dense layer"
        )
    match layer_type:
        case "conv":
            kernel, stride, padding = _convolution(layer)
            _check_size(
                f"{where}: conv with kernel = {kernel} and padding = {padding}",
                shape,
                kernel - 2 * padding,
                "pool less before it, choose a smaller kernel or more padding, or use larger images",
            )
            return (layer["conv"], *((size + 2 * padding - kernel) // stride + 1 for size in shape[1:]))
        case "pool" | "average_pool":
            window = layer["pool"] if layer_type == "pool" else layer["average_pool"]
            advice = "pool less before it, remove it, or use larger images"
            _check_size(f"{where}: {layer_type} = {window}", shape, window, advice)
            return (shape[0], *(size // window for size in shape[1:]))
        case "global_pool":
            return (shape[0], 1, 1)
        case "dense":
            return (layer["dense"],)
    return shape  # dropout


def _check_size(what: str, shape: tuple[int, ...], least: int, advice: str) -> None:
    if min(shape[1:]) < least:
        raise ValueError(
            f"{what} is too large for its input of {shape[1]}×{shape[2]}; "
            f"expected an input of at least {least}×{least}: {advice}"
        )


def _convolution(layer: Layer) -> tuple[int, int, int]:
    kernel = layer.get("kernel", 3)
    return kernel, layer.get("stride", 1), layer.get("padding", kernel // 2)


def _shown(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _toml(layer: Layer) -> str:
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in layer.items()) + " }"
