"""How much of the style of one image and of the content of another is in the pictures of a style transfer.

Axes: N pairs, C channels, H rows, W columns; R content images and S styles of a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, Strict
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, write_csv
from dlpipe.fields import NonNegative
from dlpipe.figures import drawing
from dlpipe.report_items import ReportItem
from dlpipe_vision.feature_layers import FeatureLayers
from dlpipe_vision.picture import to_pixels
from dlpipe_vision.picture_distances import (
    compared_styles,
    content_distance,
    correlation,
    edges,
    seen_in,
    style_distances,
)
from dlpipe_vision.pixel_optimization import optimize_pixels
from dlpipe_vision.style_statistics import EPSILON, adaptive_instance_norm, channel_statistics
from dlpipe_vision.style_transfer import StyleTransfer

#: Of the figures: most contents and styles of the matrix, and pairs.
CONTENTS, STYLES, PAIRS = 5, 7, 8
#: Width of a picture and of the names of methods in a figure, in inches, and pixels around a picture.
CELL, LABELS, GAP = 0.9, 1.0, 1
#: What the pictures of the model are called beside those of other methods, and the content images as one of these.
NETWORK, UNCHANGED = "network", "unchanged"
Metrics = dict[str, float]


@dataclass(frozen=True)
class Matrix:
    """Content images, styles, and each content in each style, on the CPU.

    Args:
        images: (R, C, H, W).
        styles: (S, C, H, W).
        pictures: (R, S, C, H, W).
    """

    images: Tensor
    styles: Tensor
    pictures: Tensor


class Stylization:
    """Compare the pictures of a style transfer with their style and content images, by an independent network.

    For each pair of images it measures

    * ``style_accuracy``: whether, by Gram matrices of the judge, the picture is nearer to its own style than to the
      other ones of K styles;
    * ``style_distance``: the distance of its Gram matrices to those of its style, divided by that of the content image;
    * ``content_distance``: the squared distance of its maps in the last layer of the judge to those of the content
      image, divided by that of the style image;
    * ``edge_correlation``: the correlation of its edges (Sobel) with those of the content image over all pixels.

    The same is measured of simple methods: ``unchanged_…``, the content image as it is, and ``color_…``, the content
    image with the mean and standard deviation of each color of the style; with `optimization_steps` also of
    ``optimized_…``, pixels that are optimized for each pair with the network of the model.

    Args:
        image_shape: C, H, W of the images.
        judge: a trained network of images with values from 0 to 1, best one that the model does not know.
        judge_layers: the layers of it whose Gram matrices are compared, the last one also as the content.
        num_styles: K, the own style and others of the split; if the split has fewer different ones, these.
        optimization_steps: steps in which the pixels of each pair are optimized, for comparison; 0 skips it.

    Raises:
        InputError: the judge has no such layer, or takes no such images.
    """

    primary = "style_accuracy"
    goal: Literal["max"] = "max"

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        judge: nn.Module,
        *,
        judge_layers: Annotated[Sequence[str], Field(min_length=1)],
        num_styles: Annotated[int, Strict(), Field(ge=2)] = 10,
        optimization_steps: NonNegative = 0,
    ) -> None:
        self._judge = FeatureLayers(judge, judge_layers, image_shape, option="judge_layers")
        self._num_styles, self._steps = num_styles, optimization_steps
        self._pairs: dict[str, Tensor] = {}
        self._matrix: Matrix | None = None
        self._measured: dict[str, Metrics] = {}

    def evaluate(self, model: nn.Module, examples: Examples) -> Metrics:
        """Return the metrics of the model, and those of the other methods with their names in front."""
        if not isinstance(model, StyleTransfer):
            raise InputError(f"vision.stylization needs vision.style_transfer; the model is {type(model).__name__}")
        batches = [(batch, pictures) for batch, _, pictures in examples.predictions(model)]
        images, styles = (torch.cat([batch[name] for batch, _ in batches]) for name in ("images", "styles"))
        pictures = {
            NETWORK: torch.cat([pictures for _, pictures in batches]).float(),
            UNCHANGED: images,
            "color": adaptive_instance_norm(images, *channel_statistics(styles)).clamp(0, 1),
        }
        if self._steps:
            steps = self._steps if examples.limit is None else min(self._steps, examples.limit)
            size = examples.compute.evaluation_batch_size
            parts = [
                optimize_pixels(model.encode, content, style, content_layer=model.content_layer, steps=steps)
                for content, style in zip(images.split(size), styles.split(size), strict=True)
            ]
            pictures["optimized"] = torch.cat(parts)
        new_kinds = None
        if all("new_kinds" in batch for batch, _ in batches):
            new_kinds = torch.cat([batch["new_kinds"] for batch, _ in batches]).cpu()
        self._matrix = _matrix(model, images, styles)
        self._measured = self._measure(images, styles, pictures, new_kinds)
        shown = {"content": images, "style": styles} | {name: pictures[name] for name in pictures if name != UNCHANGED}
        self._pairs = {name: made[:PAIRS].cpu() for name, made in shown.items()}
        return {
            name if method == NETWORK else f"{method}_{name}": value
            for method, measured in self._measured.items()
            for name, value in measured.items()
        }

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw pairs and a matrix of content and style, and write the metrics of all methods as a table."""
        assert self._matrix is not None
        names = list(self._measured[NETWORK])
        rows = [[method, *(f"{of[name]:.4f}" for name in names)] for method, of in self._measured.items()]
        write_csv(folder / "methods.csv", [["method", *names], *rows])
        return [
            _draw_matrix(folder / "matrix.png", self._matrix),
            _draw_pairs(folder / "pairs.png", self._pairs),
            ReportItem("methods.csv", "Methods", "The metrics of the network and of what it is compared with."),
        ]

    def _measure(
        self, images: Tensor, styles: Tensor, pictures: Mapping[str, Tensor], new_kinds: Tensor | None
    ) -> dict[str, Metrics]:
        judge = self._judge.to(images.device)
        content, style = seen_in(images, judge), seen_in(styles, judge)
        rows = compared_styles(styles, self._num_styles)
        if rows.size(1) < 2 <= len(images):  # of a single pair, nothing else is known
            raise InputError(
                "vision.stylization compares each picture with several styles, and the split has only one; add styles"
            )
        before = style_distances(content, style, rows)[:, 0].clamp_min(EPSILON)
        measured = {}
        for method, made in pictures.items():
            seen = seen_in(made, judge)
            distances = style_distances(seen, style, rows)
            right = (distances.argmin(1) == 0).float().cpu()
            values = {
                "style_accuracy": right.mean(),
                "style_distance": (distances[:, 0] / before).mean(),
                "content_distance": content_distance(seen, content, style).mean(),
                "edge_correlation": correlation(edges(made), edges(images)).mean(),
            }
            if new_kinds is not None and new_kinds.any() and not new_kinds.all():
                values["style_accuracy_known_kinds"] = right[~new_kinds].mean()
                values["style_accuracy_new_kinds"] = right[new_kinds].mean()
            measured[method] = {name: float(value) for name, value in values.items()}
        return measured


def _matrix(model: StyleTransfer, images: Tensor, styles: Tensor) -> Matrix:
    """Draw the first content images in each of the first styles."""
    contents, columns = images[:CONTENTS], styles[:STYLES]
    with torch.inference_mode():
        rows = [model.stylize(image.expand(len(columns), -1, -1, -1), columns) for image in contents]
    return Matrix(contents.cpu(), columns.cpu(), torch.stack(rows).float().cpu())


def _draw_matrix(path: Path, matrix: Matrix) -> ReportItem:
    """Draw content images on the left, styles on top, and each content in each style."""
    top = torch.cat([torch.ones_like(matrix.images[:1]), matrix.styles])
    rows = [torch.cat([image[None], row]) for image, row in zip(matrix.images, matrix.pictures, strict=True)]
    _draw_grid(path, torch.stack([top, *rows]), [])
    return ReportItem(
        path.name,
        "Content and style",
        "On the left content images, on top style images, and each content in each style. A column should look like "
        "its style, a row like its content.",
    )


def _draw_pairs(path: Path, pairs: Mapping[str, Tensor]) -> ReportItem:
    """Draw a column for each pair, a row for its content, its style, and each method."""
    _draw_grid(path, torch.stack(list(pairs.values())), list(pairs))
    return ReportItem(
        path.name,
        "Pairs",
        "Each column is a pair of images: the content, the style, and what the network and other methods draw. The row "
        "“color” has the content with the mean and standard deviation of each color of the style.",
    )


def _draw_grid(path: Path, pictures: Tensor, names: Sequence[str]) -> None:
    """Draw pictures (R, S, C, H, W) in R rows of S, with the names of the rows; as one image, which is fast."""
    framed = F.pad(pictures, (GAP, GAP, GAP, GAP), value=1.0).clamp(0, 1)
    down, across, channels, height, width = framed.shape
    whole = framed.permute(2, 0, 3, 1, 4).reshape(channels, down * height, across * width)
    with drawing(path, across * CELL + (LABELS if names else 0), down * CELL * height / width) as figure:
        axes = figure.subplots()
        axes.imshow(to_pixels((whole * 255).round().byte()), cmap="gray", vmin=0, vmax=255)
        axes.set_xticks([])
        axes.set_yticks([(row + 0.5) * height for row in range(len(names))], names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
