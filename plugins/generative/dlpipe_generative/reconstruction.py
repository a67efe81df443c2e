"""Reconstruction error of auto-encoders, compared with principal component analysis.

Axes: B images of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.data import ModelCaller
from dlpipe.evaluation import Examples
from dlpipe.fields import NonNegativeFloat
from dlpipe.report_items import ReportItem
from dlpipe_generative.image_grid import image_grid
from dlpipe_generative.pixels import PixelRange, to_unit
from dlpipe_generative.principal_components import PrincipalComponents
from dlpipe_generative.protocols import EncodingModel, require
from dlpipe_generative.split_tensors import class_names, device_of, isolated_rng, split_tensors

WHO = "generative.reconstruction"
SHOWN = 10


class Reconstruction:
    """Measure the squared error per pixel (0 to 1) of reconstructions, a mean over pixels and images.

    ``evaluate`` returns ``mse``, and ``pca_mse``, that of a principal component analysis of the training images with as
    many dimensions; with `noise` also ``noise_mse``, that of the noisy images themselves. ``write`` writes
    ``reconstructions.png``: the images, the noisy ones if so, the reconstructions of the model, and those of the
    analysis, below the names of their classes.

    Args:
        pixel_range: values of black and white.
        noise: standard deviation of Gaussian noise that is added to the inputs; errors are measured against the images
            without it.
    """

    primary = "mse"
    goal: Literal["min"] = "min"

    def __init__(self, pixel_range: tuple[float, float], *, noise: NonNegativeFloat = 0.0) -> None:
        self._range: PixelRange = pixel_range
        self._noise = noise
        self._components: PrincipalComponents | None = None
        self._rows: dict[str, Tensor] = {}  # by name, images (SHOWN, C, H, W)
        self._classes: list[str] = []
        self._split, self._metrics = "", dict[str, float]()

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Reconstruct every image of the split."""
        components = self._fitted_components(require(model, EncodingModel, WHO).latent_dim, examples, device_of(model))  # type: ignore[type-abstract]
        sums: dict[str, Tensor] = {}
        self._rows, count = {}, 0
        with isolated_rng(0, device_of(model)):
            for batch, _, reconstructed in examples.predictions(model):
                images, seen = batch["images"], batch["images"]
                if self._noise:
                    seen = images + self._noise * torch.randn_like(images)
                    reconstructed = _predicted(model, batch | {"images": seen})
                linear = components.reconstruct(seen).to(images.dtype)
                found = {"mse": reconstructed, "pca_mse": linear} | ({"noise_mse": seen} if self._noise else {})
                for name, other in found.items():
                    sums[name] = sums.get(name, 0) + self._errors(images, other)
                count += images.numel()
                if not self._rows:
                    size = components.directions.size(1)
                    rows = {"original": images} | ({"noisy": seen} if self._noise else {})
                    rows |= {"net": reconstructed, f"{size} principal\ncomponents": linear}
                    self._rows = {name: part[:SHOWN].float().cpu() for name, part in rows.items()}
                    classes = batch["targets"][:SHOWN] if "targets" in batch else None
                    self._classes = class_names(examples.data, classes)
        self._split, self._metrics = examples.split, {name: float(total) / count for name, total in sums.items()}
        return dict(self._metrics)

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the first images of the split and their reconstructions."""
        images = to_unit(torch.cat(list(self._rows.values())), self._range)
        count = len(self._rows["original"])
        grid = image_grid(images, count, row_names=list(self._rows), column_names=self._classes)
        grid.save(folder / "reconstructions.png")
        assert self._components is not None
        noisy = f"; the same with noise of standard deviation {self._noise:g}" if self._noise else ""
        against = " against the images without noise" if self._noise else ""
        return [
            ReportItem(
                "reconstructions.png",
                "Reconstructions",
                f"Rows from the top: the first {count} images of {self._split}{noisy}; what the model "
                f"makes of them (mean squared error{against} {self._metrics['mse']:.4f}); and principal component "
                f"analysis with {self._components.directions.size(1)} components ({self._metrics['pca_mse']:.4f}). A "
                "good model has a lower error than the analysis, which is the best linear auto-encoder.",
                "image",
            )
        ]

    def _errors(self, images: Tensor, other: Tensor) -> Tensor:
        low, high = self._range
        return ((images - other.float()) / (high - low)).square().sum(dtype=torch.float64)

    def _fitted_components(self, count: int, examples: Examples, device: torch.device) -> PrincipalComponents:
        if self._components is None:
            self._components = PrincipalComponents.fit(split_tensors(examples.data, "train", device, WHO)[0], count)
        return self._components


def _predicted(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    caller = ModelCaller(model, tuple(batch))
    with torch.inference_mode():
        return caller.predictions(caller.outputs(batch), batch)
