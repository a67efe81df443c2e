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


def test_colors_and_the_size_of_large_images_are_kept():
    picture = image_grid(torch.tensor([1.0, 0.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 60, 50))

    assert picture.size == (54, 64)
    assert picture.getpixel((20, 20)) == (255, 0, 255)


def test_rows_columns_and_images_have_their_names_beside_them():
    images = torch.full((4, 1, 64, 64), 0.5)
    plain = np.array(image_grid(images, 2))

    named = np.array(
        image_grid(images, 2, row_names=("a", "b\nc"), column_names=("x", ""), captions=("", "", "", "last"))
    )

    left, above, below = named.shape[1] - plain.shape[1], 14, 14
    assert left > 6
    assert named.shape[0] == plain.shape[0] + above + 2 * below
    names = named.copy()
    for top in (16, 16 + 80):
        for start in (left + 2, left + 68):
            assert set(names[top : top + 64, start : start + 64].flat) == {128}
            names[top : top + 64, start : start + 64] = 255
    assert names[16:80, :left].min() < 60  # the first row
    assert names[96:128, :left].min() < 60  # the second row, two lines
    assert names[128:160, :left].min() < 60
    assert names[:14, left : left + 66].min() < 60  # the first column; the second has no name
    assert names[160:, left + 68 :].min() < 60  # the caption of the last image
    names[16:160, :left] = names[:14, left : left + 66] = names[160:, left + 68 :] = 255
    assert names.min() == 255  # and nothing elsewhere


def test_a_long_name_ends_at_the_border_of_its_column():
    pixels = np.array(image_grid(torch.ones(2, 1, 48, 48), 2, column_names=("a very long name of a class", "")))

    assert pixels[:14, 2:50].min() < 60
    assert pixels[:, 50:].min() == 255


def test_names_in_other_scripts_are_drawn_with_a_font_that_has_them():
    one, other = (np.array(image_grid(torch.ones(1, 1, 64, 64), column_names=(name,))) for name in ("ж", "я"))

    assert one.min() < 60
    assert (one != other).any()  # not the same box for both


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
