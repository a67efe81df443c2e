"""Random augmentation: each option has its documented effect, independently per image, and no other."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from dlpipe_vision import augment
from dlpipe_vision.augment import affine, augmented, noisy

EACH = [{"rotate": 20.0}, {"scale": 0.3}, {"shift": 2}, {"flip": True}, {"crop": 2}, {"erase": 1.0}, {"noise": 0.1}]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(*shape):
    return torch.rand(shape, generator=generator(7)) + 0.1


def moved(images, angle=0.0, factor=1.0, shift=(0.0, 0.0)):
    count = len(images)
    return affine(images, torch.full((count,), angle), torch.full((count,), factor), torch.tensor([shift] * count))


@pytest.mark.parametrize(("angle", "turns"), [(90.0, 1), (-90.0, -1), (180.0, 2)])
def test_angles_are_counter_clockwise(angle, turns):
    images = pictures(2, 3, 5, 5)

    assert_close(moved(images, angle), images.rot90(turns, (2, 3)), atol=1e-5, rtol=0)


def test_whole_pixels_move_to_the_right_and_down():
    images = pictures(2, 3, 5, 7)

    result = moved(images, shift=(2.0, 1.0))

    assert_close(result[:, :, 1:, 2:], images[:, :, :-1, :-2], atol=1e-5, rtol=0)
    assert result[:, :, 0].abs().max() < 1e-5
    assert result[:, :, :, :2].abs().max() < 1e-5


def test_a_shift_is_not_rotated_with_the_image():
    images = pictures(1, 1, 7, 7)

    result = moved(images, 90.0, shift=(2.0, 0.0))

    assert_close(result[..., 2:], images.rot90(1, (2, 3))[..., :-2], atol=1e-5, rtol=0)


def test_a_factor_above_one_enlarges():
    image = torch.zeros(1, 1, 8, 8)
    image[..., 3:5, 3:5] = 1.0

    larger, smaller = moved(image, factor=2.0), moved(image, factor=0.5)

    assert float(larger.sum()) == pytest.approx(4 * 4, abs=1.0)
    assert float(smaller.sum()) == pytest.approx(1.0, abs=0.1)


def test_images_that_are_not_square_rotate_about_their_center_without_distortion():
    images = pictures(2, 1, 5, 9)

    turned = moved(images, 90.0)

    assert_close(turned[..., 2:7], images[..., 2:7].rot90(1, (2, 3)), atol=1e-5, rtol=0)
    assert turned[..., :2].abs().max() < 1e-5
    assert_close(moved(turned, -90.0)[..., 2:7], images[..., 2:7], atol=1e-5, rtol=0)


def test_a_shift_of_a_rotated_image_that_is_not_square_is_in_pixels():
    images = pictures(1, 1, 5, 9)

    result = moved(images, 90.0, shift=(1.0, 1.0))

    assert_close(result[..., 1:, 3:8], images[..., 2:7].rot90(1, (2, 3))[..., :-1, :], atol=1e-5, rtol=0)


def test_a_rotated_image_is_enlarged_like_an_upright_one():
    images = pictures(1, 2, 8, 8)

    result = moved(images, 90.0, factor=1.6)

    assert_close(result, moved(images, factor=1.6).rot90(1, (2, 3)), atol=1e-5, rtol=0)


@pytest.fixture
def random_amounts(monkeypatch):
    """Return the angles (B,), factors (B,) and shifts (B, 2) that images are moved by."""
    seen = []

    def remember(images, *amounts):
        seen.append(amounts)
        return images

    monkeypatch.setattr(augment, "affine", remember)

    def random_amounts(how):
        augmented(pictures(500, 1, 2, 3), how, generator())
        return seen.pop()

    return random_amounts


def test_amounts_are_sampled_between_their_limits(random_amounts):
    angle, factor, shift = random_amounts({"rotate": 20.0, "scale": 0.3, "shift": 2})

    for amounts, low, high in ((angle, -20, 20), (factor, 0.7, 1.3), (shift[:, 0], -2, 2), (shift[:, 1], -2, 2)):
        tenth = (high - low) / 10
        assert low <= amounts.min() < low + tenth
        assert high - tenth < amounts.max() <= high
        assert amounts.float().mean() == pytest.approx((low + high) / 2, abs=tenth)
    assert abs(torch.corrcoef(shift.T)[0, 1]) < 0.2


@pytest.mark.parametrize("how", [{"rotate": 20.0}, {"scale": 0.3}, {"shift": 2}], ids=lambda how: next(iter(how)))
def test_an_amount_that_is_not_set_changes_nothing(random_amounts, how):
    angle, factor, shift = random_amounts(how)

    assert ("rotate" in how) == bool(angle.any())
    assert ("scale" in how) == bool((factor != 1).any())
    assert ("shift" in how) == bool(shift.any())


def test_about_half_of_a_batch_is_mirrored_left_and_right():
    images = pictures(400, 2, 3, 4)

    result = augmented(images, {"flip": True}, generator())

    mirrored = (result == images.flip(-1)).flatten(1).all(1)
    kept = (result == images).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert 160 < int(mirrored.sum()) < 240


def test_a_crop_is_a_piece_of_the_image_with_a_black_border():
    images = pictures(400, 2, 4, 5)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))

    result = augmented(images, {"crop": 2}, generator())

    pieces = padded.unfold(2, 4, 1).unfold(3, 5, 1)  # (B, C, 5, 5, 4, 5)
    same = (pieces == result[:, :, None, None]).all(-1).all(-1).all(1)
    assert same.flatten(1).any(1).all()
    assert same.any(0).all()  # every position is chosen once


def test_erased_rectangles_are_as_in_the_paper():
    images = torch.ones(2000, 1, 100, 100)

    erased = augmented(images, {"erase": 0.4}, generator())[:, 0] == 0

    hit = erased.flatten(1).any(1)
    assert 0.36 < float(hit.float().mean()) < 0.44
    tall, wide = erased.any(2).sum(1)[hit].float(), erased.any(1).sum(1)[hit].float()
    areas = erased.flatten(1).sum(1)[hit]
    assert (areas == tall * wide).all()
    assert ((tall + 1) * (wide + 1)).min() > 200
    assert ((tall - 1) * (wide - 1)).max() < 3300
    assert areas.min() < 400 < 3000 < areas.max()
    for lines, extent in ((erased.any(2)[hit], tall), (erased.any(1)[hit], wide)):
        assert lines.any(0).all()  # every row and column, the outermost too
        positions = lines.int().argmax(1)[extent < 30] / (100 - extent[extent < 30])
        assert positions.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist() == pytest.approx([0.1, 0.5, 0.9], abs=0.1)
    ratio = tall / wide
    assert ((tall - 1) / (wide + 1)).max() < 3.3
    assert ((tall + 1) / (wide - 1)).min() > 1 / 3.3
    assert ratio.min() < 0.4
    assert ratio.max() > 2.5


def test_noise_has_the_given_deviation_and_is_not_clipped():
    noise = noisy(torch.zeros(4, 3, 60, 50), 0.25, generator())

    assert float(noise.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(noise.std()) == pytest.approx(0.25, rel=0.02)


@pytest.mark.parametrize("how", EACH, ids=lambda how: next(iter(how)))
def test_every_option_changes_each_image_independently_and_reproducibly(how):
    images = pictures(1, 2, 9, 7).expand(12, -1, -1, -1)

    first, again, other = (augmented(images, how, generator(seed)) for seed in (3, 3, 4))

    assert first.shape == images.shape
    assert first.equal(again)
    assert not first.equal(other)
    assert len(first.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize("how", [{}, {"flip": False}, {"erase": 0.0}])
def test_options_that_are_off_change_nothing(how):
    images = pictures(3, 2, 5, 7)

    assert augmented(images, how, generator()).equal(images)


def test_options_are_applied_in_the_documented_order():
    images, together, apart = pictures(6, 2, 9, 7), generator(), generator()
    how = {"noise": 0.1, "erase": 0.7, "crop": 2, "flip": True, "shift": 2}

    result = augmented(images, how, together)

    for step in ({"shift": 2}, {"flip": True}, {"crop": 2}, {"erase": 0.7}, {"noise": 0.1}):
        images = augmented(images, step, apart)
    assert result.equal(images)
