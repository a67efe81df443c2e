"""Shared by the tests of vision: a few synthetic images, and examples for evaluators."""

from __future__ import annotations

import pytest
import torch

from dlpipe.compute import Compute
from dlpipe.evaluation.examples import Examples
from dlpipe_vision.image_sets import ImageSet, ImageSplits
from dlpipe_vision.labeled_images import LabeledImages


@pytest.fixture
def faces() -> LabeledImages:
    """Nine images of 5 rows and 7 columns, of three classes; the class is how bright the first pixel is.

    The eleven images of train, and the two of dev, are others, darker, and of other classes in turn.
    """

    def images_of(split: str, targets: list[int], low: int, seed: int) -> ImageSet:
        rng, shape = torch.Generator().manual_seed(seed), (len(targets), 1, 5, 7)
        images = torch.randint(low, low + 100, shape, generator=rng).to(torch.uint8)
        images[:, 0, 0, 0] = (torch.tensor(targets) * 100).to(torch.uint8)
        return ImageSet(images, torch.tensor(targets), [f"<{split} {number}>.png" for number in range(len(targets))])

    sets = {
        "train": images_of("train", [2, 1, 0] * 3 + [0, 0], 20, 5),
        "dev": images_of("dev", [1, 1], 60, 6),
        "test": images_of("face", [0, 1, 2] * 3, 100, 4),
    }
    return LabeledImages(lambda: ImageSplits(["sad", "<i>", "glad"], sets), normalize="unit")


@pytest.fixture
def faces_examples(faces) -> Examples:
    """The test split of `faces`."""
    return Examples(faces, "test", Compute(torch.device("cpu")))


@pytest.fixture
def other_examples() -> Examples:
    """Examples of data that is not images."""
    return Examples(object(), "test", Compute(torch.device("cpu")))  # type: ignore[arg-type]
