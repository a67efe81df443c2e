"""The layers of a model by name, and what they return.

Axes: B images, C channels, H rows, W columns; h and w of a feature map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dlpipe.data import ModelCaller
from dlpipe.errors import InputError
from dlpipe.messages import nearest


class _LayerReached(Exception):
    """A model need not run any further."""


def all_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return all layers, also those that contain others."""
    return {name: module for name, module in model.named_modules() if name}


def convolutions(model: nn.Module) -> dict[str, nn.Module]:
    """Return the convolutions."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


def require_layer(model: nn.Module, layer: str, option: str = "layer") -> None:
    """Refuse the name of a layer that a model does not have.

    Args:
        option: what names the layer in a pipeline file, for the message.

    Raises:
        InputError: it has no such layer.
    """
    names = all_layers(model)
    if layer not in names:
        known = ", ".join(convolutions(model)) or "none"
        raise InputError(
            f'{option}: {type(model).__name__} has no layer "{layer}"; '
            f"its convolutions are {known}.{nearest(layer, names)}"
        )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, and restore the mode of each module afterwards."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


@contextmanager
def recorded_outputs(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of layers, so that gradients with respect to them can be computed."""
    outputs: dict[str, Tensor] = {}

    def record(name: str, output: object) -> object:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return output
        outputs.pop(name, None)  # of an earlier call; the order is that of the last calls
        outputs[name] = output if output.requires_grad else output.detach().requires_grad_()
        return outputs[name].clone()  # as the next layer may overwrite it

    handles = [
        layer.register_forward_hook(lambda _, __, output, name=name: record(name, output))
        for name, layer in layers.items()
    ]
    try:
        with torch.enable_grad():
            yield outputs
    finally:
        for handle in handles:
            handle.remove()


def last_layer_of_size(outputs: Mapping[str, Tensor], convolution: str) -> str:
    """Return the last layer whose maps (B, C, h, w) have the size of a convolution's, such as the activation after it.

    A layer that returns what its last part does is named by that part.
    """
    size = outputs[convolution].shape[2:]
    names = [name for name, output in outputs.items() if output.dim() == 4 and output.shape[2:] == size]
    while len(names) > 1 and names[-2].startswith(f"{names[-1]}.") and outputs[names[-2]].equal(outputs[names[-1]]):
        names.pop()
    return names[-1]


def feature_maps(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    """Return the output (B, C, h, w) of a layer for images (B, C, H, W); the layers after it do not run.

    So images may have a size that a dense layer after it would not accept.

    Raises:
        InputError: the layer does not return feature maps, or does not run.
    """
    outputs: list[object] = []

    def stop(_: nn.Module, __: object, output: object) -> None:
        outputs.append(output)
        raise _LayerReached

    handle = model.get_submodule(layer).register_forward_hook(stop)
    try:
        ModelCaller(model, ("images",)).outputs({"images": images})
    except _LayerReached:
        return require_maps(layer, outputs[0])
    finally:
        handle.remove()
    raise InputError(f'layer = "{layer}" does not run when {type(model).__name__} gets images; choose another one')


def require_maps(layer: str, output: object) -> Tensor:
    """Return the output of a layer if it is feature maps (B, C, h, w).

    Raises:
        InputError: it is something else.
    """
    if isinstance(output, Tensor) and output.dim() == 4:
        return output
    actual = f"outputs of shape {tuple(output.shape)}" if isinstance(output, Tensor) else "no tensor"
    raise InputError(
        f'layer = "{layer}" returns {actual}; expected feature maps (B, C, h, w): '
        "choose a convolution, or a layer after one"
    )
