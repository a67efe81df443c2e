"""How well images come back from their codes, beside the best that a linear code can do.

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
from dlpipe_generative.contracts import Encodes, require
from dlpipe_generative.pixels import PixelRange, to_unit
from dlpipe_generative.principal_components import Components
from dlpipe_generative.sheets import sheet
from dlpipe_generative.things import device_of, isolated, things

WHO = "generative.reconstruction"
SHOWN = 10


class Reconstruction:
    """Squared error per pixel (0 to 1) of what a model draws again, as a mean over pixels and images.

    ``evaluate`` gives ``mse`` and ``pca_mse``, that of a principal component analysis of the training images with as
    many numbers; with `noise` also ``noise_mse``, that of the noisy images themselves. ``write`` gives
    ``reconstructions.png``: images (noisy, if so) above what the model draws again and what the analysis does.

    Args:
        pixel_range: what black and white are.
        noise: standard deviation of the noise on the pixels of the images that the model sees; it is judged by
            the images without it.
    """

    primary = "mse"
    goal: Literal["min"] = "min"

    def __init__(self, pixel_range: tuple[float, float], *, noise: NonNegativeFloat = 0.0) -> None:
        self._range: PixelRange = pixel_range
        self._noise = noise
        self._components: Components | None = None
        self._rows: list[Tensor] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Draw every image again."""
        components = self._linear(require(model, Encodes, WHO).latent_dim, examples, device_of(model))  # type: ignore[type-abstract]
        sums: dict[str, Tensor] = {}
        self._rows, count = [], 0
        with isolated(0, device_of(model)):
            for batch, _, drawn in examples.predictions(model):
                images, seen = batch["images"], batch["images"]
                if self._noise:
                    seen = images + self._noise * torch.randn_like(images)
                    drawn = _predicted(model, batch | {"images": seen})
                linear = components.again(seen).to(images.dtype)
                found = {"mse": drawn, "pca_mse": linear} | ({"noise_mse": seen} if self._noise else {})
                for name, other in found.items():
                    sums[name] = sums.get(name, 0) + self._errors(images, other)
                count += images.numel()
                if not self._rows:
                    self._rows = [part[:SHOWN].float().cpu() for part in (seen, drawn, linear)]
        return {name: float(total) / count for name, total in sums.items()}

    def write(self, folder: Path) -> None:
        """Show the first images of the split."""
        sheet(to_unit(torch.cat(self._rows), self._range), len(self._rows[0])).save(folder / "reconstructions.png")

    def _errors(self, images: Tensor, other: Tensor) -> Tensor:
        low, high = self._range
        return ((images - other.float()) / (high - low)).square().sum(dtype=torch.float64)

    def _linear(self, count: int, examples: Examples, device: torch.device) -> Components:
        if self._components is None:
            self._components = Components.of(things(examples.data, "train", device, WHO)[0], count)
        return self._components


def _predicted(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    caller = ModelCaller(model, tuple(batch))
    with torch.inference_mode():
        return caller.predictions(caller.outputs(batch), batch)
