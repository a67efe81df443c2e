"""What the layers of a classifier of images have learned to see, and where it looks.

Axes: B chosen images, C channels, H rows, W columns, K classes, F filters; h and w of a feature map.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.data import Columns, ModelCaller
from dlpipe.errors import InputError
from dlpipe.evaluation import Answers, Examples, collect
from dlpipe.figures import drawing, shortened
from dlpipe.messages import nearest
from dlpipe_vision.error_gallery import verdict
from dlpipe_vision.labelled_images import LabelledImages, require_labelled_images
from dlpipe_vision.picture import to_pixels

#: What fits on a figure that a person takes in: filters, layers, channels of each layer, images of each kind.
FILTERS, LAYERS, CHANNELS, RIGHT, WRONG = 64, 8, 4, 3, 3
#: Of these images, feature maps are shown.
MAPPED = 3


@dataclass(frozen=True)
class Looked:
    """A few images and what a model made of them, on the CPU.

    Args:
        pictures: (B, C, H, W) bytes.
        answers: of these B images.
        maps: outputs (B, C, h, w) of convolutions by the name of the layer.
        cams: (B, h, w) of Grad-CAM, 0 and up; None where there is no layer for it.
        layer: which layer that is.
    """

    pictures: Tensor
    answers: Answers
    maps: Mapping[str, Tensor]
    cams: Tensor | None
    layer: str | None


class LayerPictures:
    """Draw the first layer's weights, feature maps, and where the model looks; it gives no numbers.

    ``write`` gives ``filters.png``, the weights of the first layer that sees the image (a ``Conv2d``, or a
    ``Linear`` layer as wide as the image); for models with convolutions ``feature_maps.png``, the channels of each
    that vary most over an image, and ``grad_cam.png``: which places of an image speak for the class that is predicted.

    Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", https://arxiv.org/abs/1610.02391, section 3.

    Args:
        image_shape: (C, H, W) of the images.
        labels: the name of each class.
        layer: where Grad-CAM looks, such as "features.3"; if not given, the last convolution with what follows it
            in maps of the same size (normalisation, activation).
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(self, image_shape: tuple[int, int, int], labels: list[str], *, layer: str | None = None) -> None:
        self._shape, self._labels, self._layer = image_shape, list(labels), layer
        self._filters: tuple[str, Tensor] | None = None
        self._looked: Looked | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Look into the model with a few images, some of them wrong if any is; there is nothing to measure."""
        data = require_labelled_images(examples.data, "vision.layer_pictures")
        self._check_layer(model)
        self._filters = first_filters(model, self._shape)
        with _in_evaluation(model):
            answers = _some(collect(examples.predictions(model), len(self._labels)))
            self._looked = _look(model, self._layer, data, examples, answers)
        return {}

    def write(self, folder: Path) -> None:
        """Draw what the last `evaluate` saw."""
        assert self._looked is not None
        if self._filters is not None:
            _draw_filters(folder / "filters.png", *self._filters)
        if self._looked.maps:
            _draw_maps(folder / "feature_maps.png", self._looked, self._labels)
        if self._looked.cams is not None:
            _draw_cams(folder / "grad_cam.png", self._looked, self._labels)

    def _check_layer(self, model: nn.Module) -> None:
        known = [name for name, _ in model.named_modules() if name]
        if self._layer is not None and self._layer not in known:
            among = ", ".join(_convolutions(model)) or "none"
            raise InputError(
                f'vision.layer_pictures: layer = "{self._layer}": {type(model).__name__} has no such layer; '
                f"its convolutions are {among}.{nearest(self._layer, known)}"
            )


def grad_cam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Return how much each place speaks for a class (B, h, w), 0 and up: equations 1 and 2 of the paper.

    Args:
        maps: (B, C, h, w) what a layer gives.
        gradients: of the score of the class, likewise.
    """
    weights = gradients.mean((2, 3), keepdim=True)
    return (weights * maps).sum(1).relu()


def first_filters(model: nn.Module, shape: tuple[int, int, int]) -> tuple[str, Tensor] | None:
    """Return the first layer that sees images of `shape`, and its weights (F, C, h, w); None if there is none."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module.weight.detach().float().cpu()
        if isinstance(module, nn.Linear) and module.in_features == math.prod(shape):
            return name, module.weight.detach().float().cpu().view(-1, *shape)
    return None


def _convolutions(model: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


@contextmanager
def _in_evaluation(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, and every part of it back afterwards."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


@contextmanager
def _recorded(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Note what layers give meanwhile, so that gradients with respect to it can be asked for."""
    found: dict[str, Tensor] = {}

    def note(name: str, output: object) -> object:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return output
        found.pop(name, None)  # of an earlier call, so that the order is that of the last calls
        found[name] = output if output.requires_grad else output.detach().requires_grad_()
        return found[name].clone()  # which the next layer may overwrite

    handles = [
        layer.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, layer in layers.items()
    ]
    try:
        with torch.enable_grad():
            yield found
    finally:
        for handle in handles:
            handle.remove()


def _some(answers: Answers) -> Answers:
    """Return the most confidently wrong answers, and right ones evenly from all over the split."""
    order = answers.worst_first()
    wrong = order[~answers.right[order]][:WRONG]
    right = answers.right.nonzero()[:, 0]
    right = right[:: max(len(right) // RIGHT, 1)][:RIGHT]
    chosen = torch.cat([wrong, right])
    columns = {name: column[chosen] for name, column in vars(answers).items() if column is not None}
    return Answers(**columns)


def _look(model: nn.Module, layer: str | None, data: LabelledImages, examples: Examples, answers: Answers) -> Looked:
    pictures = data.pictures(examples.split, answers.rows)
    convolutions = _convolutions(model)
    if layer is None and not convolutions:
        return Looked(pictures, answers, {}, None, None)
    chosen = Columns({"images": pictures, "targets": answers.targets}, prepare=data.split(examples.split).prepare)
    [(batch, _, predicted)] = examples.predictions_on(model, chosen)
    with _recorded(_simple(model) if layer is None else convolutions | {layer: model.get_submodule(layer)}) as found:
        scores = ModelCaller(model, tuple(batch)).outputs(batch)
    maps = {name: found[name].detach().float().cpu() for name in found if name in convolutions}
    layer = layer or _last_maps(found, list(maps)[-1])
    return Looked(pictures, answers, maps, _cams(layer, found, scores, predicted), layer)


def _simple(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that are not made of layers."""
    return {name: module for name, module in model.named_modules() if not any(module.children())}


def _last_maps(found: Mapping[str, Tensor], convolution: str) -> str:
    """Return the last layer whose maps are as large as those of a convolution: the activation behind it, say."""
    return [name for name, output in found.items() if output.shape == found[convolution].shape][-1]


def _cams(layer: str, found: Mapping[str, Tensor], scores: object, predicted: Tensor) -> Tensor | None:
    if layer not in found or found[layer].dim() != 4:
        given = f"outputs of shape {tuple(found[layer].shape)}" if layer in found else "no tensor"
        raise InputError(
            f'vision.layer_pictures: layer = "{layer}" gives {given}; expected feature maps (B, C, h, w): '
            "name a convolution, or what follows one"
        )
    if not isinstance(scores, Tensor) or scores.dim() != 2:
        return None  # no scores of classes, so nothing to explain
    # The score of one image does not depend on the others, so one sum gives the gradients of all.
    of_predicted = scores.gather(1, predicted[:, None].clone()).sum()
    (gradients,) = torch.autograd.grad(of_predicted, [found[layer]])
    return grad_cam(found[layer].detach().float(), gradients.float()).cpu()


def _draw_filters(path: Path, name: str, filters: Tensor) -> None:
    """Draw filters (F, C, h, w), those of the largest weights first if there are too many; grey is 0."""
    norms = filters.flatten(1).norm(dim=1)
    chosen = norms.argsort(descending=True, stable=True)[:FILTERS].sort().values
    across = min(8, len(chosen))
    down = math.ceil(len(chosen) / across)
    title = f"first layer ({name}): {len(filters)} filters"
    if len(chosen) < len(filters):
        title = f"first layer ({name}): the {len(chosen)} largest of {len(filters)} filters"
    if filters.size(1) not in (1, 3):
        title += f", mean over {filters.size(1)} channels"
        filters = filters.mean(1, keepdim=True)
    colours = "grey is 0" if filters.size(1) == 3 else "brown is below 0, purple above"
    with drawing(path, max(across * 0.9, 4.0), down * 0.9 + 0.6) as figure:
        figure.suptitle(f"{title}\n{colours}, each up to its largest weight", fontsize=9)
        cells = figure.subplots(down, across, squeeze=False).flatten()
        for axes in cells:
            axes.set_axis_off()
        for axes, weights in zip(cells, filters[chosen], strict=False):
            scaled = weights / weights.abs().max().clamp_min(1e-12)
            if len(scaled) == 3:
                axes.imshow(((scaled + 1) / 2).permute(1, 2, 0).numpy())
            else:
                axes.imshow(scaled[0].numpy(), cmap="PuOr", vmin=-1, vmax=1)


def _draw_maps(path: Path, looked: Looked, labels: list[str]) -> None:
    """Draw a row of feature maps for each layer, a group of columns for each image."""
    known = list(looked.maps)
    names = [known[place] for place in _spread(len(known), LAYERS)]
    images = _spread(len(looked.pictures), MAPPED)
    with drawing(path, len(images) * CHANNELS * 0.95 + 0.6, (len(names) + 1) * 1.15 + 0.3) as figure:
        figure.suptitle(f"outputs of {len(names)} of {len(looked.maps)} convolutions: the channels that vary most")
        for group, number in zip(figure.subfigures(1, len(images), squeeze=False)[0], images, strict=True):
            cells = group.subplots(len(names) + 1, CHANNELS, squeeze=False)
            for axes in cells.flatten():
                axes.set_axis_off()
            cells[0, 0].imshow(to_pixels(looked.pictures[number]), cmap="gray", vmin=0, vmax=255)
            group.suptitle(verdict(looked.answers, number, labels), fontsize=8)
            for row, name in zip(cells[1:], names, strict=True):
                maps = looked.maps[name][number]
                varied = maps.flatten(1).std(1, correction=0).argsort(descending=True, stable=True)[:CHANNELS]
                for axes, channel in zip(row, varied.tolist(), strict=False):
                    axes.imshow(maps[channel].numpy(), cmap="viridis")
                    axes.set_title(f"{shortened(name, 12)}, channel {channel}", fontsize=6)


def _draw_cams(path: Path, looked: Looked, labels: list[str]) -> None:
    """Draw each image, and again with what speaks for the predicted class."""
    assert looked.cams is not None
    height, width = looked.pictures.shape[2:]
    over_the_image = (-0.5, width - 0.5, height - 0.5, -0.5)
    with drawing(path, 1.5 * len(looked.cams) + 0.4, 4.0) as figure:
        figure.suptitle(f"Grad-CAM at layer {looked.layer}: bright places speak for the predicted class")
        cells = figure.subplots(2, len(looked.cams), squeeze=False)
        for axes in cells.flatten():
            axes.set_axis_off()
        for number, (upper, lower) in enumerate(cells.T):
            pixels = to_pixels(looked.pictures[number])
            upper.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            upper.set_title(verdict(looked.answers, number, labels), fontsize=7.5)
            lower.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            heat, highest = looked.cams[number].numpy(), float(looked.cams[number].max()) or 1.0
            lower.imshow(
                heat, cmap="inferno", alpha=0.6, vmin=0, vmax=highest, extent=over_the_image, interpolation="bilinear"
            )
            if not heat.any():
                lower.set_title("nothing speaks for it here", fontsize=7.5)


def _spread(count: int, most: int) -> list[int]:
    """Return the places of `most` of `count` items at the most, evenly from first to last."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]
