import pytest
import torch

from dlpipe_generative.resampling import downsample, halved_sizes, upsample


@pytest.mark.parametrize(
    ("shape", "smallest", "sizes"),
    [
        ((3, 64, 64), 4, [64, 32, 16, 8, 4]),
        ((1, 28, 28), 4, [28, 14, 7]),
        ((1, 8, 8), 4, [8, 4]),
        ((1, 8, 8), 1, [8, 4, 2, 1]),
    ],
)
def test_an_image_is_halved_while_its_sides_are_even_and_long_enough(shape, smallest, sizes):
    assert halved_sizes(shape, smallest) == [(size, size) for size in sizes]


def test_both_sides_must_be_even():
    assert halved_sizes((1, 12, 20), 2) == [(12, 20), (6, 10), (3, 5)]


@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_upsampling_restores_the_size_before_downsampling(kernel):
    images = torch.zeros(2, 3, 8, 12)

    halved = downsample(3, 5, kernel)(images)

    assert halved.shape == (2, 5, 4, 6)
    assert upsample(5, 3, kernel)(halved).shape == images.shape
