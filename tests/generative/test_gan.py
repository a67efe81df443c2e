import pytest
import torch
from torch.testing import assert_close

from dlpipe_generative.gan import GAN

IMAGES = {"image_shape": (1, 4, 6), "pixel_range": (-1.0, 1.0)}


def tiny(**options):
    torch.manual_seed(0)
    return GAN(**{**IMAGES, "hidden": (7, 5), "latent_dim": 3, **options})


def test_images_are_generated_from_minus_1_to_1_and_scored():
    model = tiny()

    generated = model.generate(torch.randn(8, 3) * 9)

    assert generated.shape == (8, 1, 4, 6)
    assert generated.abs().max() <= 1
    assert model(images=generated).shape == (8,)


def test_points_are_unbounded():
    model = GAN(point_dim=2, hidden=(7, 5), latent_dim=3)

    assert model.generate(torch.zeros(4, 3)).shape == (4, 2)
    assert model(points=torch.zeros(4, 2)).shape == (4,)
    assert not any(isinstance(layer, torch.nn.BatchNorm1d | torch.nn.Tanh) for layer in model.modules())


def test_a_score_does_not_depend_on_the_other_images():
    model, images = tiny(), torch.randn(6, 1, 4, 6)

    assert_close(model(images=images)[2:4], model(images=images[2:4]))


def test_scores_depend_on_the_class_by_projection():
    model, images = tiny(conditional=True, num_classes=3), torch.randn(2, 1, 4, 6)
    classes = torch.tensor([0, 2])
    before = model(images=images, targets=classes)
    torch.nn.init.normal_(model.discriminator.score.classes.weight)

    after = model(images=images, targets=classes)

    expected = (model.discriminator.features(images) * model.discriminator.score.classes.weight[classes]).sum(1)
    assert_close(after - before, expected)
    with pytest.raises(ValueError, match=r"discriminator is conditional: expected targets \(2,\), got None"):
        model(images=images)


def test_data_without_images_or_points_is_rejected():
    with pytest.raises(
        ValueError, match="needs data of images .* or points .* provides image_shape = None, .* point_dim = None"
    ):
        GAN()


def test_data_with_another_pixel_range_is_rejected():
    with pytest.raises(
        ValueError, match=r'from -1 to 1, but those of the data range from 0 to 1; set normalize = "symmetric"'
    ):
        tiny(pixel_range=(0.0, 1.0))
