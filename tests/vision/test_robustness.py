from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_vision.robustness import Robustness, transforms


class Blind(nn.Module):
    """Says "sad" whatever it sees."""

    def forward(self, images):
        return torch.tensor([1.0, 0.0, 0.0]).expand(len(images), 3)


class Reads(nn.Module):
    """Reads the class from the first pixel."""

    def forward(self, images):
        return -(images[:, :1, 0, 0] * 2.55 - torch.arange(3)).abs()


def test_a_model_that_ignores_its_input_has_the_same_accuracy_on_all_images(faces_examples):
    metrics = Robustness((1, 5, 7), 3).evaluate(Blind(), faces_examples)

    assert metrics == {
        name: pytest.approx(1 / 3)
        for name in (
            "accuracy",
            *(f"accuracy_noise_{level}" for level in ("0.25", "0.5", "1")),
            *(f"accuracy_shift_{level}" for level in (1, 2, 3)),
            *(f"accuracy_rotate_{level}" for level in (15, 30)),
        )
    }


def test_a_shift_is_evaluated_in_four_directions(faces, faces_examples):
    metrics = Robustness((1, 5, 7), 3, noise=(), shift=(1,), rotate=()).evaluate(Reads(), faces_examples)

    images, targets = faces.pictures("test", torch.arange(9)), torch.arange(3).repeat(3)
    # Moved to the right or downwards, the first pixel is black, which means class 0, a third of all.
    found = [torch.zeros(9), torch.zeros(9), images[:, 0, 0, 1] / 100, images[:, 0, 1, 0] / 100]
    expected = [float((pixel.round() == targets).double().mean()) for pixel in found]
    assert metrics == {"accuracy": 1.0, "accuracy_shift_1": pytest.approx(sum(expected) / 4)}


def test_the_numbers_are_the_same_each_time(faces_examples):
    robustness = Robustness((1, 5, 7), 3)

    assert robustness.evaluate(Reads(), faces_examples) == robustness.evaluate(Reads(), faces_examples)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, [[0, 1, 2], [0, 4, 5]]),
        (1, [[2, 3, 0], [5, 6, 0]]),
        (2, [[0, 0, 0], [1, 2, 3]]),
        (3, [[4, 5, 6], [0, 0, 0]]),
    ],
)
def test_shifts_go_right_left_down_and_up(number, expected):
    images = torch.tensor([[[[1.0, 2, 3], [4, 5, 6]]]])

    moved = transforms("shift", 1)[number](images, torch.Generator())

    assert_close(moved, torch.tensor([[expected]]).float())


def test_rotations_go_both_ways():
    images = torch.arange(9.0).view(1, 1, 3, 3)

    left, right = (change(images, torch.Generator()) for change in transforms("rotate", 90))

    assert_close(left, images.rot90(1, (2, 3)))
    assert_close(right, images.rot90(-1, (2, 3)))


def test_noise_has_its_deviation_and_is_not_clipped():
    [change] = transforms("noise", 0.5)

    changed = change(torch.full((1, 1, 100, 100), 0.5), torch.Generator().manual_seed(0))

    assert float(changed.std()) == pytest.approx(0.5, rel=0.05)
    assert float(changed.min()) < 0 < 1 < float(changed.max())


def test_a_figure_has_a_panel_for_each_transformation(tmp_path, faces_examples):
    for panels, options in ((3, {}), (1, {"noise": (), "rotate": ()})):
        robustness = Robustness((1, 5, 7), 3, **options)
        robustness.evaluate(Blind(), faces_examples)
        (item,) = robustness.write(tmp_path)

        assert item.file == "robustness.png"
        assert ("the strength of: noise, shift, rotate;" in item.caption) == (panels == 3)
        assert Image.open(tmp_path / "robustness.png").size == (panels * 384, 384)


def test_a_shift_beyond_the_image_is_refused():
    with pytest.raises(InputError, match=r"shift = 5 moves everything out of images of 5×7 pixels; expected 1 to 4"):
        Robustness((1, 5, 7), 3, shift=(2, 5))


def test_other_data_than_images_is_refused(other_examples):
    with pytest.raises(
        InputError, match=r"vision.robustness needs labeled images, such as vision.digits; the data is object"
    ):
        Robustness((1, 5, 7), 3).evaluate(Blind(), other_examples)
