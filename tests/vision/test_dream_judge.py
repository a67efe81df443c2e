"""A second network that judges dreams."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_vision.dream_judge import Judge, crops_of


class Brightness(nn.Module):
    """Scores three classes by the first pixel, as the images of `faces` have them."""

    def __init__(self, classes=3):
        super().__init__()
        self.levels = nn.Parameter(torch.arange(classes) * (100 / 255))

    def forward(self, images):
        return -50 * (images[:, 0, 0, 0, None] - self.levels).square()


def judge(data, **options):
    return Judge(Brightness(**options), data, torch.device("cpu"))


def test_crops_lie_side_by_side_and_what_is_left_over_is_not_used():
    images = torch.arange(2 * 3 * 5 * 9).view(2, 3, 5, 9)

    crops = crops_of(images, 2, 4)

    assert crops.shape == (2, 4, 3, 2, 4)
    assert crops[1, 0].equal(images[1, :, :2, :4])
    assert crops[1, 1].equal(images[1, :, :2, 4:8])
    assert crops[1, 2].equal(images[1, :, 2:4, :4])


def test_each_crop_has_the_probability_of_the_class(faces):
    images = torch.rand(2, 1, 10, 16, generator=torch.Generator().manual_seed(0))

    found = judge(faces).probabilities(images, 1)

    corners = torch.stack([images[:, :, row, column] for row in (0, 5) for column in (0, 7)], dim=1)[..., None, None]
    expected = torch.stack([Brightness()(corner).softmax(1)[:, 1] for corner in corners])
    assert_close(found, expected.double().detach())


def test_the_accuracy_is_that_on_the_split(faces, faces_examples):
    assert judge(faces).accuracy(faces_examples) == 1


def test_a_judge_of_other_classes_is_refused(faces):
    with pytest.raises(InputError, match="judge: Brightness gives probabilities of 4 classes; expected those of the 3"):
        judge(faces, classes=4).probabilities(torch.rand(1, 1, 5, 7), 0)
