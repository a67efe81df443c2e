"""Copies of pictures that are not the same bytes, and pictures that only look alike."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.nn import functional

from dlpipe_vision.near_copies import nearly_in


@pytest.fixture(scope="module")
def cuts():
    """Pieces of 64×64 pixels of photographs, all different."""
    return [
        Image.fromarray(photograph[row : row + 64, column : column + 64])
        for photograph in load_sample_images().images
        for row in range(0, 360, 64)
        for column in range(0, 570, 64)
    ]


def stacked(pictures):
    return torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])


def recoded(picture):
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=60)
    return Image.open(content, formats=["JPEG"])


@pytest.mark.parametrize("change", [recoded, lambda picture: picture.resize((48, 48)).resize((64, 64))])
def test_a_picture_encoded_again_or_resized_is_nearly_the_same(cuts, change):
    pictures = stacked(cuts)
    detailed = pictures.float().mean(1).flatten(1).std(1) > 30

    found = nearly_in(stacked([change(picture) for picture in cuts]), pictures)

    assert detailed.sum() > 20
    assert found[detailed].all()


def test_different_pictures_are_not_the_same(cuts):
    assert not nearly_in(stacked(cuts[::2]), stacked(cuts[1::2])).any()


def test_the_nearest_picture_is_that_of_a_comparison_of_all_pairs(cuts):
    pictures = stacked(cuts).float()
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    changed = (
        pictures
        + noise * torch.linspace(0, 40, len(pictures))[:, None, None, None]
        + torch.arange(108)[:, None, None, None] / 20
    )

    found = nearly_in(changed, pictures)

    small, all_small = (functional.avg_pool2d(images.mean(1), 4).flatten(1) for images in (changed, pictures))
    alike = (torch.cdist(small, all_small) / 16).amin(1) <= 3
    assert torch.equal(found, alike & (small.std(1, correction=0) >= 16))
    assert 5 < found.sum() < 100


@pytest.mark.parametrize("value", [0, 128, 255])
def test_blank_and_small_pictures_are_not_compared(value):
    blank = torch.full((3, 1, 40, 50), value, dtype=torch.uint8)
    small = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)

    assert not nearly_in(blank, blank).any()
    assert not nearly_in(small, small).any()
