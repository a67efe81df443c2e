import numpy as np
import torch
from PIL import Image

from dlpipe_generative.sheets import frame, sheet, write_film


def test_images_stand_in_rows_magnified_with_white_between():
    images = torch.stack([torch.zeros(1, 24, 12), torch.ones(1, 24, 12) * 0.5, torch.zeros(1, 24, 12)])

    pixels = np.array(sheet(images, 2))

    assert pixels.shape == (2 * 50 + 2, 2 * 26 + 2)
    assert pixels[2:50, 2:26].max() == 0
    assert set(pixels[2:50, 28:52].flat) == {128}
    assert pixels[:2].min() == pixels[:, 26:28].min() == 255
    assert pixels[52:, 28:].min() == 255  # where there is no fourth image


def test_colours_stay_colours_and_large_images_their_size():
    picture = sheet(torch.tensor([1.0, 0.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 60, 50))

    assert picture.size == (54, 64)
    assert picture.getpixel((20, 20)) == (255, 0, 255)


def test_as_near_to_a_square_as_can_be():
    assert sheet(torch.zeros(7, 1, 48, 48)).size == (3 * 50 + 2, 3 * 50 + 2)


def test_a_film_has_its_pictures_in_the_order_of_their_steps(tmp_path):
    for step, brightness in ((60, 0.5), (20, 0.0), (100, 1.0)):
        sheet(torch.full((1, 1, 48, 48), brightness)).save(frame(tmp_path, step))

    write_film(tmp_path)

    film = Image.open(tmp_path / "training.gif")
    shown = []
    for number in range(film.n_frames):
        film.seek(number)
        shown.append(film.convert("L").getpixel((10, 10)))
    assert shown == [0, 128, 255]
