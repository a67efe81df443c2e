"""Filters, feature maps and Grad-CAM of an image classifier.

Axes: B chosen images, C channels, H rows, W columns, K classes, F filters; h and w of a feature map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.data import Columns, ModelCaller
from dlpipe.evaluation import Answers, Examples, collect
from dlpipe.figures import drawing, shortened
from dlpipe.protocols import Batch
from dlpipe.report_items import ReportItem
from dlpipe_vision.error_gallery import describe
from dlpipe_vision.labeled_images import LabeledImages, require_labeled_images
from dlpipe_vision.layer_outputs import (
    all_layers,
    convolutions,
    evaluation_mode,
    last_layer_of_size,
    recorded_outputs,
    require_layer,
    require_maps,
)
from dlpipe_vision.picture import to_pixels

#: Most items in a readable figure: filters, layers, channels per layer, correct and wrong images.
FILTERS, LAYERS, CHANNELS, RIGHT, WRONG = 64, 8, 4, 3, 3
#: Images whose feature maps are drawn.
MAP_IMAGES = 3


@dataclass(frozen=True)
class LayerActivations:
    """A few images, and the activations of a model for them, on the CPU.

    Args:
        pictures: (B, C, H, W) bytes, with their pixels in the order in which the model gets them.
        answers: of these B images.
        maps: outputs (B, C, h, w) of the convolutions, by layer name.
        cams: (B, h, w) Grad-CAM, not negative; None if the model has no layer for it.
        layer: the layer of Grad-CAM.
    """

    pictures: Tensor
    answers: Answers
    maps: Mapping[str, Tensor]
    cams: Tensor | None
    layer: str | None


class LayerPictures:
    """Draw the first layer's weights, feature maps, and Grad-CAM; it has no metrics.

    ``write`` writes ``filters.png``, the weights of the first layer that is applied to the image (a ``Conv2d``, or a
    ``Linear`` layer with one input per pixel). For models with convolutions it also writes ``feature_maps.png``, the
    channels of each that vary most over an image, and ``grad_cam.png``, the regions that support the predicted class.

    Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", https://arxiv.org/abs/1610.02391, section 3.

    Args:
        image_shape: (C, H, W) of the images.
        labels: the name of each class.
        layer: the layer of Grad-CAM, such as "layers.3.conv"; by default the last convolution, including the layers
            after it whose maps have the same size (normalization, activation).
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(self, image_shape: tuple[int, int, int], labels: list[str], *, layer: str | None = None) -> None:
        self._shape, self._labels, self._layer = image_shape, list(labels), layer
        self._filters: tuple[str, Tensor] | None = None
        self._activations: LayerActivations | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Record activations for a few images, misclassified ones among them if there are any; there are no metrics."""
        data = require_labeled_images(examples.data, "vision.layer_pictures")
        if self._layer is not None:
            require_layer(model, self._layer)
        self._filters = first_filters(model, self._shape)
        with evaluation_mode(model):
            answers = _select_answers(collect(examples.predictions(model), len(self._labels), model))
            self._activations = _activations_of(model, self._layer, data, examples, answers)
        return {}

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw the activations of the last `evaluate`."""
        assert self._activations is not None
        items = []
        if self._activations.cams is not None:
            items.append(_draw_cams(folder / "grad_cam.png", self._activations, self._labels))
        if self._activations.maps:
            items.append(_draw_maps(folder / "feature_maps.png", self._activations, self._labels))
        if self._filters is not None:
            items.append(_draw_filters(folder / "filters.png", *self._filters))
        return items


def grad_cam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Return how much each position supports a class (B, h, w), not negative: equations 1 and 2 of the paper.

    Args:
        maps: (B, C, h, w) output of a layer.
        gradients: (B, C, h, w) gradients of the score of the class with respect to it.
    """
    weights = gradients.mean((2, 3), keepdim=True)
    return (weights * maps).sum(1).relu()


def first_filters(model: nn.Module, shape: tuple[int, int, int]) -> tuple[str, Tensor] | None:
    """Return the first layer applied to images of `shape`, and its weights (F, C, h, w); None if there is none."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module.weight.detach().float().cpu()
        if isinstance(module, nn.Linear) and module.in_features == math.prod(shape):
            return name, module.weight.detach().float().cpu().view(-1, *shape)
    return None


def _select_answers(answers: Answers) -> Answers:
    """Return the most confident mistakes, and correct answers spread evenly over the split."""
    order = answers.worst_first()
    wrong = order[~answers.right[order]][:WRONG]
    right = answers.right.nonzero()[:, 0]
    right = right[:: max(len(right) // RIGHT, 1)][:RIGHT]
    chosen = torch.cat([wrong, right])
    columns = {name: column[chosen] for name, column in vars(answers).items() if column is not None}
    return Answers(**columns)


def _activations_of(
    model: nn.Module, layer: str | None, data: LabeledImages, examples: Examples, answers: Answers
) -> LayerActivations:
    seen = data.as_seen(data.pictures(examples.split, answers.rows))
    of_convolution = convolutions(model)
    if layer is None and not of_convolution:
        return LayerActivations(seen, answers, {}, None, None)
    batch = _as_evaluated(model, data, examples, answers)
    layers = all_layers(model) if layer is None else of_convolution | {layer: model.get_submodule(layer)}
    with recorded_outputs(layers) as outputs:
        scores = ModelCaller(model, tuple(batch)).outputs(batch)
    maps = {name: outputs[name].detach().float().cpu() for name in outputs if name in of_convolution}
    layer = layer or last_layer_of_size(outputs, list(maps)[-1])
    return LayerActivations(seen, answers, maps, _cams(layer, outputs, scores, answers.predicted), layer)


def _as_evaluated(model: nn.Module, data: LabeledImages, examples: Examples, answers: Answers) -> Batch:
    """Return the examples of B answers as the model got them.

    With noise, they are those of the pass over the split, as their noise would be another in another batch.
    """
    rows = answers.rows
    if data.noise:
        parts = []
        for batch, _ in examples.outputs(model):
            chosen = torch.isin(batch["rows"], rows)
            parts.append({name: column[chosen.to(column.device)] for name, column in batch.items()})
        order = torch.searchsorted(torch.cat([part["rows"] for part in parts]), rows)
    else:
        columns = {"images": data.pictures(examples.split, rows), "targets": answers.targets}
        alone = Columns(columns, prepare=data.split(examples.split).prepare)
        parts = [batch for batch, _, _ in examples.predictions_on(model, alone)]
        order = torch.arange(len(rows))
    return {name: torch.cat([part[name] for part in parts])[order.to(parts[0][name].device)] for name in parts[0]}


def _cams(layer: str, outputs: Mapping[str, Tensor], scores: object, predicted: Tensor) -> Tensor | None:
    require_maps(layer, outputs.get(layer))
    if not isinstance(scores, Tensor) or scores.dim() != 2:
        return None  # without class scores there is nothing to explain
    # The score of one image does not depend on the others, so one sum gives the gradients of all.
    of_predicted = scores.gather(1, predicted[:, None].to(scores.device)).sum()
    (gradients,) = torch.autograd.grad(of_predicted, [outputs[layer]])
    return grad_cam(outputs[layer].detach().float(), gradients.float()).cpu()


def _draw_filters(path: Path, name: str, filters: Tensor) -> ReportItem:
    """Draw filters (F, C, h, w), those of the largest weights if there are too many."""
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
    colors = "grey is 0" if filters.size(1) == 3 else "brown is below 0, white 0, purple above"
    with drawing(path, max(across * 0.9, 4.0), down * 1.0 + 0.6) as figure:
        figure.suptitle(f"{title}\n{colors}, each up to its largest weight", fontsize=9)
        cells = figure.subplots(down, across, squeeze=False).flatten()
        for axes in cells:
            axes.set_axis_off()
        for axes, weights, channel in zip(cells, filters[chosen], chosen.tolist(), strict=False):
            axes.set_title(f"{channel}", fontsize=6, pad=2)
            scaled = weights / weights.abs().max().clamp_min(1e-12)
            if len(scaled) == 3:
                axes.imshow(((scaled + 1) / 2).permute(1, 2, 0).numpy())
            else:
                axes.imshow(scaled[0].numpy(), cmap="PuOr", vmin=-1, vmax=1)
    return ReportItem(
        path.name,
        "First-layer filters",
        f"Weights of the {title}; {colors}, each filter up to its own largest weight; the number above is "
        "that of its output channel. Edges, strokes and smooth patches are typical of a trained layer; large filters "
        "that look like noise are not.",
    )


def _draw_maps(path: Path, activations: LayerActivations, labels: list[str]) -> ReportItem:
    """Draw a row of feature maps per layer, and a group of columns per image."""
    names = list(activations.maps)
    names = [names[index] for index in _evenly_spaced(len(names), LAYERS)]
    images = _evenly_spaced(len(activations.pictures), MAP_IMAGES)
    with drawing(path, len(images) * CHANNELS * 0.95 + 0.6, (len(names) + 1) * 1.15 + 0.3) as figure:
        figure.suptitle(f"outputs of {len(names)} of {len(activations.maps)} convolutions: the channels that vary most")
        for group, number in zip(figure.subfigures(1, len(images), squeeze=False)[0], images, strict=True):
            cells = group.subplots(len(names) + 1, CHANNELS, squeeze=False)
            for axes in cells.flatten():
                axes.set_axis_off()
            cells[0, 0].imshow(to_pixels(activations.pictures[number]), cmap="gray", vmin=0, vmax=255)
            group.suptitle(describe(activations.answers, number, labels), fontsize=8)
            for row, name in zip(cells[1:], names, strict=True):
                maps = activations.maps[name][number]
                varied = maps.flatten(1).std(1, correction=0).argsort(descending=True, stable=True)[:CHANNELS]
                for axes, channel in zip(row, varied.tolist(), strict=False):
                    axes.imshow(maps[channel].numpy(), cmap="viridis")
                    axes.set_title(f"{shortened(name, 16)}, {channel}", fontsize=6)
    return ReportItem(
        path.name,
        "Feature maps",
        f"Each group of columns is an image ({_kinds_of(activations.answers.right[images])}), and each row below it "
        f"is a convolution: {len(names)} of {len(activations.maps)}, from input to output, and of each up to "
        f"{CHANNELS} channels that vary most over the image, with layer and channel above. Yellow is "
        "high and dark purple low, scaled for each map; a map of one color says nothing about where things are.",
    )


def _draw_cams(path: Path, activations: LayerActivations, labels: list[str]) -> ReportItem:
    """Draw each image, and again with its Grad-CAM."""
    assert activations.cams is not None
    height, width = activations.pictures.shape[2:]
    over_the_image = (-0.5, width - 0.5, height - 0.5, -0.5)
    with drawing(path, 1.5 * len(activations.cams) + 0.4, 4.0) as figure:
        figure.suptitle(f"Grad-CAM at layer {activations.layer}: bright regions support the predicted class")
        cells = figure.subplots(2, len(activations.cams), squeeze=False)
        for axes in cells.flatten():
            axes.set_axis_off()
        for number, (upper, lower) in enumerate(cells.T):
            pixels = to_pixels(activations.pictures[number])
            upper.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            upper.set_title(describe(activations.answers, number, labels), fontsize=7.5)
            lower.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            heat, highest = activations.cams[number].numpy(), float(activations.cams[number].max()) or 1.0
            lower.imshow(
                heat, cmap="inferno", alpha=0.6, vmin=0, vmax=highest, extent=over_the_image, interpolation="bilinear"
            )
            if not heat.any():
                lower.set_title("no region supports it", fontsize=7.5)
    return ReportItem(
        path.name,
        "Grad-CAM",
        f"Upper row: images, {_kinds_of(activations.answers.right)}; lower row: the same; bright colors mark the "
        f"regions that support the predicted class at layer {activations.layer}, scaled for each image. They should "
        "lie on the object; if they lie on the background, the model relies on something else.",
    )


def _kinds_of(right: Tensor) -> str:
    """Say how many answers (B,) are wrong, and how many right, in the order in which they are drawn."""
    counts = ((int((~right).sum()), "misclassified"), (int(right.sum()), "classified correctly"))
    return ", then ".join(f"{count} {kind}" for count, kind in counts if count)


def _evenly_spaced(count: int, most: int) -> list[int]:
    """Return the indices of at most `most` of `count` items, evenly spaced from first to last."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]
