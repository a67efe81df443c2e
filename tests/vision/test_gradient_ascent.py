"""Gradient ascent on images, octave by octave."""

import pytest
import torch
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_vision.gradient_ascent import GradientAscent, resized, total_variation_gradient


def ascent(**options):
    usual = {"size": 12, "octaves": 1, "octave_scale": 2.0, "steps": 1, "step_size": 0.01, "jitter": 0}
    return GradientAscent(**usual | {"total_variation": 0.0} | options)


def run(start, objective, **options):
    return ascent(**options).run(start, objective, torch.Generator().manual_seed(3))


def random_images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 0.4 + 0.3


def test_octaves_grow_to_the_size_of_the_result():
    assert ascent(octaves=3).sizes == [3, 6, 12]
    assert ascent(octaves=4, octave_scale=1.4, size=41).sizes == [15, 21, 29, 41]


def test_a_step_follows_the_gradient_divided_by_its_mean_absolute_value():
    start, weights = random_images(2, 3, 12, 12), torch.randn(12, 12, generator=torch.Generator().manual_seed(1))

    (result,) = run(start, lambda images: 7 * (images * weights).sum((1, 2, 3)))

    assert_close(result, start + 0.01 * weights / weights.abs().mean())


def test_images_do_not_depend_on_each_other():
    start = random_images(2, 3, 12, 12) * torch.tensor([1.0, 0.1]).view(2, 1, 1, 1)

    def objective(images):
        return images.square().mean((1, 2, 3))

    together = run(start, objective, octaves=2, steps=3, jitter=1)[-1]

    alone = torch.cat([run(image[None], objective, octaves=2, steps=3, jitter=1)[-1] for image in start])
    assert_close(together, alone)


def test_pixels_stay_in_their_range():
    (result,) = run(random_images(1, 1, 12, 12), lambda images: images[:, :, :6].sum((1, 2, 3)), step_size=1.0)

    assert result[:, :, :6].eq(1).all()


def test_each_octave_keeps_what_the_others_added_and_the_details_of_the_start_image():
    start = random_images(1, 2, 12, 12)

    small, large = run(start, lambda images: images.mean((1, 2, 3)), octaves=2, steps=2)

    assert_close(small, resized(start, 6) + 2 * 0.01)
    assert_close(large, start + 4 * 0.01)


def test_images_are_moved_before_a_step_and_back_after_it():
    start, places = random_images(1, 1, 12, 12), []

    def objective(images):
        places.append(int((images[0, 0] - start[0, 0, 5, 7]).abs().argmin()))
        return images.mean((1, 2, 3))

    (result,) = run(start, objective, steps=20, jitter=3, step_size=1e-9)

    moves = {((place // 12 - 5), (place % 12 - 7)) for place in places}
    assert len(moves) > 8
    assert max(abs(distance) for move in moves for distance in move) == 3
    assert_close(result, start)


def test_the_moves_follow_from_the_generator_alone():
    start, before = random_images(1, 1, 12, 12), torch.get_rng_state()

    first, again = (run(start, lambda images: images[:, 0, 0].sum(1), steps=4, jitter=3)[-1] for _ in range(2))

    assert first.equal(again)
    assert torch.get_rng_state().equal(before)


def test_an_image_without_a_gradient_stays_as_it_is():
    start = random_images(1, 1, 12, 12)

    (result,) = run(start, lambda images: (images * 0).sum((1, 2, 3)))

    assert_close(result, start)


def test_the_gradient_of_the_total_variation_is_that_of_its_formula():
    images = random_images(2, 3, 5, 7).requires_grad_()

    (images.diff(dim=2).abs().sum() + images.diff(dim=3).abs().sum()).backward()

    assert_close(total_variation_gradient(images.detach()), images.grad)


def test_total_variation_smooths():
    start = random_images(1, 1, 12, 12)

    rough, smooth = (
        run(start, lambda images: images.square().mean((1, 2, 3)), steps=9, total_variation=weight)[-1]
        for weight in (0.0, 0.5)
    )

    assert smooth.diff(dim=3).abs().mean() < 0.7 * rough.diff(dim=3).abs().mean()


def test_octaves_without_pixels_are_refused():
    with pytest.raises(InputError, match="octaves = 6: the smallest one would have no pixels; reduce octaves"):
        ascent(octaves=6)


def test_octaves_of_the_same_size_are_refused():
    with pytest.raises(InputError, match="two octaves would have the same size, .*; reduce octaves or enlarge"):
        ascent(octaves=6, octave_scale=1.01)


def test_jitter_that_is_large_compared_to_the_smallest_octave_is_refused():
    with pytest.raises(
        InputError, match=r"jitter = 2: the smallest octave has 6×6 pixels; expected at most a quarter, 1"
    ):
        ascent(octaves=2, jitter=2)
