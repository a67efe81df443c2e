"""The nearest training image of each generated image, to detect copies.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.evaluation import Examples
from dlpipe.fields import NonNegative, Positive
from dlpipe.report_items import ReportItem
from dlpipe_generative.image_grid import image_grid
from dlpipe_generative.pixels import PixelRange, to_unit
from dlpipe_generative.sampling import random_samples
from dlpipe_generative.split_tensors import batched, class_names, device_of, split_tensors

WHO = "generative.nearest"
SHOWN = 16
#: Quantile of the distances of held-out images below which a generated image counts as a copy.
COPY_QUANTILE = 0.01


class Nearest:
    """Detect copies of training images by the distance between pixels.

    ``evaluate`` returns ``copies``, the fraction of generated images that are closer to a training image than 99 % of
    the images of the split are (about 0.01 if nothing is copied), and ``distance_ratio``, the median distance of
    generated images to the nearest training image, divided by that of the images of the split. ``write`` writes
    ``nearest.png``: generated images above their nearest training images, the closest pairs first.

    Args:
        pixel_range: values of black and white.
        count: number of images to generate, and maximum number of images of the split.
        seed: of the latent vectors.
    """

    primary = None
    goal: Literal["min"] = "min"

    def __init__(self, pixel_range: tuple[float, float], *, count: Positive = 1000, seed: NonNegative = 2) -> None:
        self._range: PixelRange = pixel_range
        self._count, self._seed = count, seed
        self._rows = torch.empty(0)
        self._distances, self._classes = list[float](), list[str]()

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Generate images and find the nearest training images."""
        train, classes = split_tensors(examples.data, "train", device_of(model), WHO)
        real, _ = split_tensors(examples.data, examples.split, device_of(model), WHO, self._count)
        generated, _ = random_samples(model, examples.at_most(self._count), self._seed, WHO)
        distances, rows = nearest_images(generated, train)
        usual, _ = nearest_images(real, train)
        closest = distances.argsort()[:SHOWN]
        self._rows = torch.cat([generated[closest], train[rows[closest]]])
        self._distances = distances[closest].tolist()
        self._classes = class_names(examples.data, None if classes is None else classes[rows[closest]])
        return {
            "copies": float((distances < usual.quantile(COPY_QUANTILE)).double().mean()),
            "distance_ratio": float(distances.median() / usual.median()),
        }

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the images of the last `evaluate` that are closest to training images."""
        pairs = len(self._rows) // 2
        image_grid(
            to_unit(self._rows, self._range),
            pairs,
            row_names=("generated", "nearest\ntraining\nimage"),
            column_names=[f"d = {distance:.2g}" for distance in self._distances],
            captions=[""] * pairs + self._classes if self._classes else (),
        ).save(folder / "nearest.png")
        named = ", with its class below" if self._classes else ""
        return [
            ReportItem(
                "nearest.png",
                "Nearest training images",
                f"Upper row: the {pairs} generated images that are closest to a training image; lower row: that "
                f"training image{named}. Above each pair is the Euclidean distance d between their pixels, which "
                f"range from {self._range[0]:g} to {self._range[1]:g}; the closest pair is on the left. Two equal "
                "images mean that the model copies its training data.",
                "image",
            )
        ]


def nearest_images(images: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances (N,) from images (N, C, H, W) to the nearest of known ones (M, C, H, W), and its row (N,)."""
    rows = []
    flat, center = known.flatten(1), known.flatten(1).mean(0)
    for (some,) in batched(images):
        assert some is not None
        # Around their mean, since cdist computes |x|² - 2xy + |y|², which cancels far from the origin.
        rows.append(torch.cdist(some.flatten(1) - center, flat - center).argmin(1))
    nearest = torch.cat(rows)
    # Computed again, as the same cancellation leaves more than 0 between equal images.
    return torch.linalg.vector_norm((images - known[nearest]).flatten(1), dim=1), nearest
