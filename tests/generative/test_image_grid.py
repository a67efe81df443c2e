import numpy as np
import torch
from PIL import Image

from dlpipe_generative.image_grid import frame_path, image_grid, write_animation


def test_images_are_magnified_and_separated_by_white():
    images = torch.stack([torch.zeros(1, 24, 12), torch.ones(1, 24, 12) * 0.5, torch.zeros(1, 24, 12)])

    pixels = np.array(image_grid(images, 2))

    assert pixels.shape == (2 * 50 + 2, 2 * 26 + 2)
    assert pixels[2:50, 2:26].max() == 0
    assert set(pixels[2:50, 28:52].flat) == {128}
    assert pixels[:2].min() == pixels[:, 26:28].min() == 255
    assert pixels[52:, 28:].min() == 255  # the fourth cell is empty


def test_colours_and_the_size_of_large_images_are_kept():
    picture = image_grid(torch.tensor([1.0, 0.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 60, 50))

    assert picture.size == (54, 64)
    assert picture.getpixel((20, 20)) == (255, 0, 255)


def test_rows_are_labelled_above_their_images():
    pixels = np.array(image_grid(torch.ones(2, 1, 64, 64) * 0.5, 1, ("first", "second")))

    assert pixels.shape == (2 * 80 + 2, 68)
    for top in (0, 80):
        assert pixels[top : top + 16].min() < 60  # the label
        assert set(pixels[top + 16 : top + 80, 2:66].flat) == {128}


def test_the_grid_is_nearly_square_by_default():
    assert image_grid(torch.zeros(7, 1, 48, 48)).size == (3 * 50 + 2, 3 * 50 + 2)


def test_an_animation_has_its_frames_in_the_order_of_the_steps(tmp_path):
    for step, brightness in ((60, 0.5), (20, 0.0), (100, 1.0)):
        image_grid(torch.full((1, 1, 48, 48), brightness)).save(frame_path(tmp_path, step))

    write_animation(tmp_path)

    animation = Image.open(tmp_path / "training.gif")
    shown = []
    for number in range(animation.n_frames):
        animation.seek(number)
        frame = np.array(animation.convert("L"))
        shown.append(frame[24, 10])
        assert frame[:14].min() < 60  # the step
    assert animation.size == (52, 52 + 14)
    assert shown == [0, 128, 255]
