"""Shared by the tests of vision: a few synthetic images, and examples for evaluators."""

from __future__ import annotations

import pytest
import torch

from dlpipe.compute import Compute
from dlpipe.evaluation.examples import Examples
from dlpipe_vision.labelled_images import ImageSet, ImageSplits, LabelledImages


@pytest.fixture
def faces() -> LabelledImages:
    """Nine images of 5 rows and 7 columns, of three classes; the class is how bright the first pixel is."""
    targets = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])
    images = torch.randint(100, 200, (9, 1, 5, 7), generator=torch.Generator().manual_seed(4)).to(torch.uint8)
    images[:, 0, 0, 0] = (targets * 100).to(torch.uint8)
    both = ImageSet(images, targets, [f"<face {number}>.png" for number in range(9)])
    return LabelledImages(lambda: ImageSplits(["sad", "<i>", "glad"], {"train": both, "test": both}), normalize="unit")


@pytest.fixture
def faces_examples(faces) -> Examples:
    """The test split of `faces`."""
    return Examples(faces, "test", Compute(torch.device("cpu")))


@pytest.fixture
def other_examples() -> Examples:
    """Examples of data that is not images."""
    return Examples(object(), "test", Compute(torch.device("cpu")))  # type: ignore[arg-type]
