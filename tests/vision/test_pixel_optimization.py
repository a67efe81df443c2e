from __future__ import annotations

import torch
from torch.testing import assert_close

from dlpipe_vision.feature_layers import FeatureLayers
from dlpipe_vision.pixel_optimization import gram_distance, optimize_pixels
from dlpipe_vision.style_statistics import gram_matrix

from .test_feature_layers import SHAPE, network

LAYERS = ["layers.0", "layers.2"]


def random_images(seed, count=2):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def optimized(images, styles, steps):
    encode = FeatureLayers(network(), LAYERS, SHAPE, option="style_layers")
    return encode, optimize_pixels(encode, images, styles, content_layer="layers.2", steps=steps)


def test_the_pixels_come_nearer_to_the_style():
    images, styles = random_images(1), random_images(2)[:, :, :9].repeat(1, 1, 1, 2) ** 4

    encode, found = optimized(images, styles, 40)

    assert found.min() >= 0
    assert found.max() <= 1
    for layer in LAYERS:
        before, after, aim = (gram_matrix(encode(each)[layer]) for each in (images, found, styles))
        assert (gram_distance(after, aim) < 0.5 * gram_distance(before, aim)).all()


def test_an_image_in_its_own_style_stays():
    images = random_images(1)

    assert_close(optimized(images, images, 5)[1], images, atol=1e-3, rtol=0)


def test_images_do_not_influence_each_other_and_no_generator_is_used():
    images, styles = random_images(3, 3).double(), random_images(4, 3).double()
    encode = FeatureLayers(network().double(), LAYERS, SHAPE, option="style_layers")
    state = torch.get_rng_state()

    together = optimize_pixels(encode, images, styles, content_layer="layers.2", steps=4)

    assert state.equal(torch.get_rng_state())
    alone = optimize_pixels(encode, images[1:2], styles[1:2], content_layer="layers.2", steps=4)
    assert_close(together[1:2], alone)


def test_the_distance_is_relative_to_the_second_matrix():
    grams = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])

    assert_close(gram_distance(grams, 2 * grams), torch.tensor([0.25]))
    assert_close(gram_distance(grams, torch.zeros(1, 2, 2)), torch.tensor([5.0 / 1e-5]))
