"""Fixtures of the tests of the generative plugin: small synthetic images and a model that replays given ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.evaluation.examples import Examples
from dlpipe_generative.image_grid import image_grid

CPU = Compute(torch.device("cpu"))


class Stripes:
    """Images of 4 rows and 6 columns with a bright stripe at one of three positions in turn, and a little noise.

    The splits differ, so that a score shows which of them was learned from: the stripes of dev and test are darker than
    those of train, and the class is the position in train only. What is learned from train is right about one third of
    dev and two thirds of test; what is learned from a split itself is right about all of it.

    Args:
        low: value of black; white is 1.
    """

    splits = ("train", "dev", "test")
    brightness: ClassVar = {"train": 0.7, "dev": 0.6, "test": 0.45}
    class_of_position: ClassVar = {"train": (0, 1, 2), "dev": (0, 0, 0), "test": (0, 1, 1)}

    def __init__(self, low: float = 0.0, count: int = 60) -> None:
        self._low, self._count = low, count

    @property
    def facts(self) -> Mapping[str, Any]:
        return {
            "image_shape": (1, 4, 6),
            "num_classes": 3,
            "labels": ["left", "middle", "right"],
            "pixel_range": (self._low, 1.0),
        }

    def split(self, name: str) -> Columns:
        generator = torch.Generator().manual_seed(self.splits.index(name))
        count = self._count if name == "train" else 15
        positions = torch.arange(count) % 3
        images = torch.rand(count, 1, 4, 6, generator=generator) * 0.2
        for column in range(6):
            images[positions == column // 2, :, :, column] += self.brightness[name]
        targets = torch.tensor(self.class_of_position[name])[positions]
        return Columns({"images": images * (1 - self._low) + self._low, "targets": targets})

    def state(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def stripes() -> Stripes:
    """Images from 0 to 1."""
    return Stripes()


@pytest.fixture
def dark_stripes() -> Stripes:
    """Images from -1 to 1."""
    return Stripes(low=-1.0)


@pytest.fixture
def examples(stripes) -> Examples:
    """The test split of `stripes`."""
    return Examples(stripes, "test", CPU)


@pytest.fixture
def dark_examples(dark_stripes) -> Examples:
    """The test split of `dark_stripes`."""
    return Examples(dark_stripes, "test", CPU)


class ReplayModel(nn.Module):
    """Returns given images (1, 4, 6) in turn, whatever the latent vectors and classes are."""

    latent_dim = 5

    def __init__(self, images: Tensor, num_classes: int | None = None) -> None:
        super().__init__()
        self.images = images
        self.weight = nn.Parameter(torch.zeros(1))
        self.num_classes = num_classes
        self._next = 0

    def generate(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        rows = (torch.arange(len(latent)) + self._next) % len(self.images)
        self._next += len(latent)
        return self.images[rows]


@pytest.fixture
def replay_model() -> type[ReplayModel]:
    """A model that returns given images."""
    return ReplayModel


@pytest.fixture
def grid_names(monkeypatch):
    """Record the names that an evaluator's module writes into its grids: ``grid_names(module)`` returns the list."""

    def record(module):
        calls = []

        def recorded(images, columns=None, **names):
            calls.append({name: list(texts) for name, texts in names.items() if texts})
            return image_grid(images, columns, **names)

        monkeypatch.setattr(module, "image_grid", recorded)
        return calls

    return record
