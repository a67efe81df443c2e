"""What a dream is to show more of: a layer, some of its channels, or classes.

Axes: B images, C channels, H rows, W columns, K classes; h and w of a feature map.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dlpipe.compute import IsolatedRNG
from dlpipe.data import ModelCaller
from dlpipe.errors import InputError
from dlpipe_vision.labeled_images import LabeledImages
from dlpipe_vision.layer_outputs import all_layers, convolutions, feature_maps, last_layer_of_size, recorded_outputs

#: Maps images (B, C, H, W) with pixels from 0 to 1 to what is to grow (B,).
Objective = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LayerTarget:
    """A layer, or one of its channels: the objective is its mean squared activation.

    Args:
        layer: its name.
        channel: None for all.
    """

    layer: str
    channel: int | None = None
    quantity: ClassVar[str] = "root mean square of the activation"

    def __str__(self) -> str:
        return f"layer {self.layer}" if self.channel is None else f"channel {self.channel} of {self.layer}"

    def objective(self, model: nn.Module, data: LabeledImages) -> Objective:
        """Return what is to grow when `model` gets images of `data`."""

        def mean_square(images: Tensor) -> Tensor:
            maps = _of_size(images, lambda: feature_maps(model, self.layer, data.as_input(images)), self, model, HINT)
            return (maps if self.channel is None else maps[:, [self._number(maps)]]).square().mean((1, 2, 3))

        return mean_square

    def activation(self, objective: Tensor) -> Tensor:
        """Return the root mean square of the activation."""
        return objective.sqrt()

    def gain(self, start: float, end: float) -> float:
        """Return how many times larger the activation has become, at most a million times."""
        return end / max(start, end / 1e6) if end else 1.0

    def _number(self, maps: Tensor) -> int:
        assert self.channel is not None
        if self.channel >= maps.size(1):
            raise InputError(
                f"channels = [{self.channel}]: {self.layer} has {maps.size(1)} channels; expected 0 to "
                f"{maps.size(1) - 1}"
            )
        return self.channel


@dataclass(frozen=True)
class ClassTarget:
    """A class: the objective is the logarithm of its odds, p / (1 - p).

    Its logit alone also grows with those of similar classes, and a second network then often sees one of these.

    Args:
        label: its name.
        number: k.
    """

    label: str
    number: int
    quantity: ClassVar[str] = "logarithm of the odds of the class"

    def __str__(self) -> str:
        return f"class {self.label}"

    def objective(self, model: nn.Module, data: LabeledImages) -> Objective:
        """Return what is to grow when `model` gets images of `data`."""
        caller = ModelCaller(model, ("images",))

        def log_odds(images: Tensor) -> Tensor:
            batch = {"images": data.as_input(images)}
            logits = _of_size(images, lambda: caller.outputs(batch), self, model, POOL_HINT)
            if not isinstance(logits, Tensor) or logits.shape != (len(images), len(data.labels)):
                found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
                raise InputError(
                    f"{type(model).__name__} returns {found} for {len(images)} images; classes needs the logits of "
                    f"{len(data.labels)} classes for each. Choose layer or channels instead"
                )
            others = [number for number in range(logits.size(1)) if number != self.number]
            return logits[:, self.number] - logits[:, others].logsumexp(1)

        return log_odds

    def activation(self, objective: Tensor) -> Tensor:
        """Return the log odds."""
        return objective

    def gain(self, start: float, end: float) -> float:
        """Return by how much the log odds have grown."""
        return end - start


Target = LayerTarget | ClassTarget
HINT = "choose fewer octaves, a larger size, or a layer before it"
POOL_HINT = (
    "for images of another size than in training, a network needs a global pool before its dense layers (vision.cnn: "
    '{ global_pool = "average" }); or choose layer or channels, for which only the layers up to there run, or give '
    "size that of training, and octaves = 1"
)


def class_targets(classes: Sequence[str], labels: Sequence[str]) -> list[Target]:
    """Return a target for each of some classes, whose names are among `labels`."""
    return [ClassTarget(label, list(labels).index(label)) for label in classes]


def layer_targets(layer: str, channels: Sequence[int]) -> list[Target]:
    """Return a target for each of some channels of a layer, or one for the whole layer."""
    return [LayerTarget(layer, channel) for channel in channels] or [LayerTarget(layer)]


def last_convolution(model: nn.Module, images: Tensor) -> str:
    """Return the last convolution, or the last layer after it whose maps have the same size.

    Args:
        images: (B, C, H, W) as the model gets them.

    Raises:
        InputError: there is no convolution.
    """
    with recorded_outputs(all_layers(model)) as outputs:
        ModelCaller(model, ("images",)).outputs({"images": images})
    ran = [name for name in outputs if name in convolutions(model)]
    if not ran:
        raise InputError(
            f"{type(model).__name__} has no convolution, whose maps a dream could enlarge; give classes, octaves = 1 "
            f"and size = {images.size(2)}"
        )
    return last_layer_of_size(outputs, ran[-1])


def untrained(model: nn.Module) -> nn.Module:
    """Return the same model before it has learned anything: its weights are drawn again.

    Those that no layer draws again, such as the scales of the blocks of ConvNeXt or the class token of a vision
    transformer, are shuffled: each parameter keeps its values, in random order.
    """
    fresh = copy.deepcopy(model)
    with IsolatedRNG(0), torch.no_grad():
        for module in fresh.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        for trained, weight in zip(model.parameters(), fresh.parameters(), strict=True):
            if weight.equal(trained):
                order = torch.randperm(weight.numel()).to(weight.device)
                weight.copy_(weight.flatten()[order].view_as(weight))
    return fresh


def _of_size(images: Tensor, run: Callable[[], Tensor], target: Target, model: nn.Module, hint: str) -> Tensor:
    """Return what a model makes of images, whose size it may not accept."""
    try:
        return run()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        raise InputError(
            f"{target}: {type(model).__name__} does not accept images of {images.size(2)}×{images.size(3)} pixels, "
            f"the size of an octave: {error}; {hint}"
        ) from error
