"""Start images of dreams."""

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from dlpipe_vision.dream_start import examples_of, mirrored_tiles, noise_images, picture_image


@pytest.mark.parametrize("size", [3, 10, 31])
def test_images_are_continued_by_their_mirror_images(size):
    images = torch.rand(2, 3, 5, 7)

    tiles = mirrored_tiles(images, size)

    assert tiles.shape == (2, 3, size, size)
    for row, column in [(0, 0), (2, 1), (size - 1, size - 1), (size // 2, size - 2)]:
        down, across = (
            min(place % (2 * side), 2 * side - 1 - place % (2 * side)) for place, side in ((row, 5), (column, 7))
        )
        assert_close(tiles[:, :, row, column], images[:, :, down, across])


def test_examples_are_the_images_of_the_split(faces):
    images = examples_of(faces, "test", torch.tensor([4, 1]), 6)

    assert_close(images[:, :, :5, :6], faces.pictures("test", torch.tensor([4, 1]))[:, :, :, :6] / 255)


def test_noise_is_grey_and_follows_from_the_generator():
    first, again = (noise_images(2, 3, 40, torch.Generator().manual_seed(1)) for _ in range(2))

    assert first.equal(again)
    assert first.mean() == pytest.approx(0.5, abs=0.01)
    assert first.std() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_middle_of_a_picture_is_used_in_the_colors_of_the_data(tmp_path, channels):
    picture = Image.new("L" if channels == 3 else "RGB", (100, 40))
    picture.paste(Image.new(picture.mode, (70, 40), "#333333"), (15, 0))
    picture.save(tmp_path / "own.png")

    image, notes = picture_image(tmp_path / "own.png", channels, 13)

    assert image.shape == (1, channels, 13, 13)
    assert_close(image, torch.full((1, channels, 13, 13), 0.2))
    assert notes == ["cropped and resized from 100×40 to 13×13"]


def test_a_picture_of_the_size_of_the_dream_stays_as_it_is(tmp_path):
    pixels = torch.randint(256, (9, 9), generator=torch.Generator().manual_seed(0)).byte()
    Image.fromarray(pixels.numpy()).save(tmp_path / "own.png")

    image, notes = picture_image(tmp_path / "own.png", 1, 9)

    assert_close(image[0, 0] * 255, pixels.float())
    assert notes == []
