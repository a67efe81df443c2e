"""Pictures of the latent space, and how well it separates classes.

Axes: N images, C channels, H rows, W columns, Z latent dimensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from dlpipe.evaluation import Examples
from dlpipe.fields import Positive
from dlpipe.figures import COLORS, GREY, drawing, shortened
from dlpipe.protocols import Data
from dlpipe.report_items import ReportItem
from dlpipe_generative.distances import pairwise_distances
from dlpipe_generative.image_grid import image_grid
from dlpipe_generative.pixels import PixelRange, to_unit
from dlpipe_generative.principal_components import PrincipalComponents
from dlpipe_generative.protocols import EncodingModel, require
from dlpipe_generative.samples import interpolation_names
from dlpipe_generative.sampling import generate_samples, random_samples
from dlpipe_generative.split_tensors import batched, class_names, device_of, split_tensors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WHO = "generative.latent"
#: Dimensions of a traversal, images per row, number of interpolations, and points of a scatter plot.
TRAVERSED, STEPS, PAIRS, POINTS = 10, 11, 6, 2000
#: Range of traversals, in standard deviations.
REACH = 2.5
#: Images per side of the map of a two-dimensional latent space.
MAP = 20
#: Colors of classes, the most frequent first; those of others are grey.
PALETTE = (*COLORS[:-1], "#882255", "#999933", "#44AA99")


@dataclass(frozen=True)
class Grid:
    """A picture of many images, as `image_grid` draws it."""

    images: Tensor
    columns: int
    row_names: Sequence[str] = ()
    column_names: Sequence[str] = ()
    captions: Sequence[str] = ()


class Latent:
    """Visualize the latent space.

    ``evaluate`` returns ``knn_accuracy`` if images have classes: the accuracy of a majority vote among the nearest
    codes of training images. ``write`` writes ``interpolation.png`` (between the codes of two images),
    ``traversal.png`` (each row varies one latent dimension, those of largest variance first), ``random.png`` (samples
    from N(0, 1) codes), ``codes.png`` (a scatter plot, colored by class), and for two latent dimensions ``map.png``
    (images on a grid of codes).

    Args:
        pixel_range: values of black and white.
        num_neighbors: number of training images that vote.
        limit: maximum number of images to encode, of the split and of the training split.
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(
        self, pixel_range: tuple[float, float], *, num_neighbors: Positive = 5, limit: Positive | None = 20_000
    ) -> None:
        self._range: PixelRange = pixel_range
        self._num_neighbors, self._limit = num_neighbors, limit
        self._grids: dict[str, Grid] = {}
        self._split, self._dimensions, self._conditional = "", list[int](), False
        self._codes = torch.empty(0)
        self._classes: list[str] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Encode the split, and generate images from codes between and around its codes."""
        encoder, device = require(model, EncodingModel, WHO), device_of(model)  # type: ignore[type-abstract]
        model.eval()
        images, classes = split_tensors(examples.data, examples.split, device, WHO, self._limit)
        conditions = classes if encoder.num_classes else None
        codes = encode_batched(encoder, images, conditions)
        self._split, self._conditional = examples.split, conditions is not None
        names = class_names(examples.data, classes)
        self._grids = self._pictures(model, codes, conditions, names)
        self._grids["random"] = self._random(model, examples.data)
        self._codes, self._classes = codes[:POINTS].cpu(), names[:POINTS]
        if classes is None:
            return {}
        train, train_classes = split_tensors(examples.data, "train", device, WHO, self._limit)
        assert train_classes is not None
        train_codes = encode_batched(encoder, train, train_classes if encoder.num_classes else None)
        predicted = knn_classify(codes, train_codes, train_classes, self._num_neighbors)
        return {"knn_accuracy": float((predicted == classes).double().mean())}

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the pictures of the last `evaluate`."""
        for name, grid in self._grids.items():
            image_grid(
                to_unit(grid.images, self._range),
                grid.columns,
                row_names=grid.row_names,
                column_names=grid.column_names,
                captions=grid.captions,
            ).save(folder / f"{name}.png")
        items = [ReportItem(f"{name}.png", *self._describe(name), "image") for name in self._grids]
        return [*self._scatter(folder / "codes.png"), *items]

    def _random(self, model: nn.Module, data: Data) -> Grid:
        images, classes = random_samples(model, MAP * 5, 0, WHO)
        return Grid(images, MAP, captions=class_names(data, classes))

    def _pictures(
        self, model: nn.Module, codes: Tensor, conditions: Tensor | None, names: Sequence[str]
    ) -> dict[str, Grid]:
        deviations = codes.std(0, correction=0)
        order = deviations.argsort(descending=True)[:TRAVERSED]
        self._dimensions = order.tolist()
        moved = latent_traversal(codes[0], order, deviations)
        same = None if conditions is None else conditions[:1].expand(len(moved))
        pictures = {
            **_interpolations(model, codes, conditions, names),
            "traversal": Grid(
                generate_samples(model, moved, same, WHO),
                STEPS,
                [f"dimension {number}\ndeviation {deviations[number]:.2g}" for number in self._dimensions],
                [f"{reach:+.1f}" for reach in torch.linspace(-REACH, REACH, STEPS)],
            ),
        }
        if codes.size(1) == 2:
            grid = torch.linspace(-REACH, REACH, MAP, device=codes.device)
            # The first dimension grows to the right, the second upwards.
            positions = torch.cartesian_prod(-grid, grid).flip(1)
            first = None if conditions is None else conditions[:1].expand(len(positions))
            ends = [f"{float(value):+.1f}" for value in grid]
            pictures["map"] = Grid(generate_samples(model, positions, first, WHO), MAP, ends[::-1], ends)
        return pictures

    def _describe(self, name: str) -> tuple[str, str]:
        """Return the title and the caption of a picture."""
        images = self._grids[name].images
        if name == "random":
            turns = ", with their class below" if self._conditional else ""
            return "Images from random codes", (
                f"{len(images)} images that the decoder makes of random codes from N(0, 1){turns}. They look like data "
                "only if the codes of data are distributed like that, as those of a VAE should be; those of a plain "
                "auto-encoder need not."
            )
        if name == "interpolation":
            classes = ", as the class of the first" if self._conditional else ""
            return "Interpolations between images", (
                f"Each of the {len(images) // STEPS} rows goes in a straight line from the code of one image of "
                f"{self._split}, on the left, to that of another, on the right{classes}; above is the share of it. "
                "Gradual changes through plausible images are good; faded mixtures of the two are not."
            )
        if name == "map":
            class_ = ", as the class of the first image" if self._conditional else ""
            return "Map of the latent space", (
                f"What the decoder makes of codes on a grid{class_}: the first dimension grows from {-REACH:g} to "
                f"{REACH:g} to the right, the second upwards. Neighbors should be similar, and each kind of image "
                "should have its region."
            )
        rows = ", ".join(map(str, self._dimensions))
        return "Latent traversals", (
            f"Each row is the code of the first image of {self._split} with one latent dimension set to values from "
            f"{-REACH:g} to {REACH:g} of its standard deviations; from the top, by falling variance, dimensions "
            f"{rows} (counted from 0). A row that does not change is a dimension that the decoder ignores."
        )

    def _scatter(self, path: Path) -> list[ReportItem]:
        shown = f"The codes of {len(self._codes)} images of {self._split}"
        codes, names = self._codes, ("first dimension", "second dimension")
        if codes.size(1) > 2:
            codes = PrincipalComponents.fit(codes, 2).transform(codes).flip(1)
            names = ("first component", "second component")
            shown += f", projected onto the two principal components of their {self._codes.size(1)} dimensions"
        if codes.size(1) < 2:
            return []
        with drawing(path, 6, 5) as figure:
            axes = figure.subplots()
            axes.set(xlabel=names[0], ylabel=names[1], title=f"codes of {len(codes)} images of {self._split}")
            if self._classes:
                _scatter_classes(axes, codes, self._classes)
                shown += ", colored by class: classes in clouds of their own can be told apart by their codes"
            else:
                axes.scatter(codes[:, 0], codes[:, 1], s=5)
        return [ReportItem(path.name, "Codes", f"{shown}.")]


def _interpolations(
    model: nn.Module, codes: Tensor, conditions: Tensor | None, names: Sequence[str]
) -> dict[str, Grid]:
    """Return the picture of at most `PAIRS` interpolations between codes (N, Z), none if there is only one code."""
    if len(codes) < 2:
        return {}
    count = min(PAIRS, len(codes) // 2)
    between = linear_interpolation(codes[:count], codes[count : 2 * count], STEPS)
    classes = None if conditions is None else conditions[:count].repeat_interleave(STEPS)
    pairs = [f"{first} to {last}" for first, last in zip(names[:count], names[count : 2 * count], strict=False)]
    samples = generate_samples(model, between, classes, WHO)
    return {"interpolation": Grid(samples, STEPS, pairs, interpolation_names(STEPS))}


def _scatter_classes(axes: Axes, codes: Tensor, classes: Sequence[str]) -> None:
    """Draw codes (N, 2) in a color for each of their classes (N,); grey for others than the most frequent ones."""
    counts = Counter(classes)
    colors = dict(zip(sorted(name for name, _ in counts.most_common(len(PALETTE))), PALETTE, strict=False))
    for name in [*(counts.keys() - colors.keys()), *colors]:
        rows = torch.tensor([each == name for each in classes])
        color = colors.get(name, GREY)
        label = f"{shortened(name)} ({counts[name]})" if name in colors else None
        axes.scatter(codes[rows, 0], codes[rows, 1], s=6, color=color, label=label)
    axes.legend(title="class (images)", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=2)


def encode_batched(encoder: EncodingModel, images: Tensor, targets: Tensor | None) -> Tensor:
    """Return the codes (N, Z) of images (N, C, H, W)."""
    with torch.inference_mode():
        return torch.cat([encoder.encode(some, classes) for some, classes in batched(images, targets)])  # type: ignore[arg-type]


def linear_interpolation(starts: Tensor, ends: Tensor, steps: int) -> Tensor:
    """Return codes (N · steps, Z) on straight lines from starts (N, Z) to ends (M, Z), pair by pair."""
    count = min(len(starts), len(ends))
    shares = torch.linspace(0, 1, steps, device=starts.device)[None, :, None]
    lines = starts[:count, None] * (1 - shares) + ends[:count, None] * shares
    return lines.flatten(0, 1)


def latent_traversal(code: Tensor, dimensions: Tensor, deviations: Tensor) -> Tensor:
    """Return codes (M · steps, Z): a code (Z,) in which one of M dimensions at a time varies from low to high."""
    moved = code.expand(len(dimensions), STEPS, -1).clone()
    reach = torch.linspace(-REACH, REACH, STEPS, device=code.device)
    for row, dimension in enumerate(dimensions.tolist()):
        moved[row, :, dimension] = reach * deviations[dimension]
    return moved.flatten(0, 1)


def knn_classify(codes: Tensor, known: Tensor, classes: Tensor, num_neighbors: int) -> Tensor:
    """Return the classes (N,) of codes (N, Z) by majority vote of their nearest neighbors among known codes (M, Z)."""
    predicted = []
    for (some,) in batched(codes):
        assert some is not None
        nearest = pairwise_distances(some, known).topk(min(num_neighbors, len(known)), largest=False).indices
        predicted.append(classes[nearest].mode(1).values)
    return torch.cat(predicted)
