import pytest
import torch
from torch.testing import assert_close

from dlpipe_generative.gan import GAN

IMAGES = {"image_shape": (1, 4, 6), "pixel_range": (-1.0, 1.0)}


def tiny(**options):
    torch.manual_seed(0)
    return GAN(**{**IMAGES, "hidden": (7, 5), "latent_dim": 3, **options})


def test_images_are_drawn_from_minus_1_to_1_and_scored():
    model = tiny()

    drawn = model.draw(torch.randn(8, 3) * 9)

    assert drawn.shape == (8, 1, 4, 6)
    assert drawn.abs().max() <= 1
    assert model(images=drawn).shape == (8,)


def test_points_are_drawn_without_bounds():
    model = GAN(point_dim=2, hidden=(7, 5), latent_dim=3)

    assert model.draw(torch.zeros(4, 3)).shape == (4, 2)
    assert model(points=torch.zeros(4, 2)).shape == (4,)
    assert not any(isinstance(layer, torch.nn.BatchNorm1d | torch.nn.Tanh) for layer in model.modules())


def test_a_score_does_not_depend_on_the_other_images():
    model, images = tiny(), torch.randn(6, 1, 4, 6)

    assert_close(model(images=images)[2:4], model(images=images[2:4]))


def test_scores_depend_on_the_class_once_it_has_been_learned():
    model, images = tiny(conditional=True, num_classes=3), torch.randn(2, 1, 4, 6)
    classes = torch.tensor([0, 2])
    before = model(images=images, targets=classes)
    torch.nn.init.normal_(model.discriminator.score.classes.weight)

    after = model(images=images, targets=classes)

    wanted = (model.discriminator.features(images) * model.discriminator.score.classes.weight[classes]).sum(1)
    assert_close(after - before, wanted)
    with pytest.raises(ValueError, match=r"scores depend on the class: expected targets \(2,\), got none"):
        model(images=images)


def test_data_that_is_neither_images_nor_points_is_refused():
    with pytest.raises(ValueError, match="it draws images or points, and this data tells of neither"):
        GAN()


def test_pixels_that_it_cannot_draw_are_refused():
    with pytest.raises(
        ValueError, match=r'from -1 to 1, but those of the data run from 0 to 1; set \[data\] normalize = "symmetric"'
    ):
        tiny(pixel_range=(0.0, 1.0))
