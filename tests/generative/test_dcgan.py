import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.testing import assert_close

from dlpipe_generative.dcgan import DCGAN

DARK = (-1.0, 1.0)


def tiny(**options):
    torch.manual_seed(0)
    return DCGAN((2, 8, 12), DARK, **{"channels": 3, "latent_dim": 5, "kernel": 4, "smallest": 2, **options})


def convolutions(net):
    return [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]


def test_the_defaults_with_64_pixels_give_the_networks_of_the_paper():
    with torch.device("meta"):
        model = DCGAN((3, 64, 64), DARK)

    assert model.generator.project[0].weight.shape == (1024 * 4 * 4, 100)
    assert [tuple(layer.weight.shape) for layer in convolutions(model.generator)] == [
        (1024, 512, 5, 5), (512, 256, 5, 5), (256, 128, 5, 5), (128, 3, 5, 5),
    ]  # fmt: skip
    assert [tuple(layer.weight.shape) for layer in convolutions(model.discriminator)] == [
        (128, 3, 5, 5), (256, 128, 5, 5), (512, 256, 5, 5), (1024, 512, 5, 5),
    ]  # fmt: skip
    assert model.generator.layers[-2].bias is not None  # no normalization in the last layer of the generator …
    norms = [
        sum(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
        for net in (model.generator, model.discriminator)
    ]
    assert norms == [4, 3]  # … nor in the first of the discriminator


@pytest.mark.parametrize(("conditional", "names"), [(False, {"latent"}), (True, {"latent", "targets"})])
def test_the_generator_is_what_is_exported(conditional, names):
    model, targets = tiny(conditional=conditional, num_classes=3), torch.tensor([2, 0, 1])

    module, inputs = model.exported({"images": torch.zeros(3, 2, 8, 12), "targets": targets})

    assert module is model.generator
    assert set(inputs) == names
    assert module(**inputs).shape == (3, 2, 8, 12)


@pytest.mark.parametrize(("size", "smallest", "steps"), [(8, 4, 1), (8, 2, 2), (28, 4, 2), (32, 4, 3), (64, 4, 4)])
@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_the_image_size_follows_from_the_data(size, smallest, steps, kernel):
    model = DCGAN((1, size, size), DARK, channels=2, kernel=kernel, smallest=smallest, latent_dim=3)

    generated = model.generate(torch.randn(2, 3))

    assert generated.shape == (2, 1, size, size)
    assert model(generated).shape == (2,)
    assert len(convolutions(model.generator)) == len(convolutions(model.discriminator)) == steps


def test_images_need_not_be_square():
    generated = tiny().generate(torch.randn(3, 5) * 100)

    assert generated.shape == (3, 2, 8, 12)
    assert generated.abs().max() <= 1


def test_initial_weights_are_those_of_the_paper():
    model = tiny(channels=64)

    for layer in convolutions(model):
        assert_close(layer.weight.std(), torch.tensor(0.02), atol=0.002, rtol=0)
    norm = model.generator.project[2]
    assert_close(norm.weight.mean(), torch.tensor(1.0), atol=0.01, rtol=0)


def test_layers_with_spectral_normalization_keep_the_weights_of_torch():
    model = tiny(channels=16, discriminator_norm="spectral")

    for layer in convolutions(model.discriminator):
        bound = layer.weight[0].numel() ** -0.5  # of torch's uniform distribution
        assert_close(layer.parametrizations.weight.original.abs().max(), torch.tensor(bound), atol=0.01 * bound, rtol=0)


def test_samples_and_scores_do_not_depend_on_the_batch_in_evaluation_mode():
    model, latent = tiny().eval(), torch.randn(6, 5)
    images = model.generate(latent)

    assert_close(model.generate(latent[2:4]), images[2:4])
    assert_close(model(images)[2:4], model(images[2:4]))


def test_spectral_normalization_gives_every_convolution_norm_1():
    model = tiny(discriminator_norm="spectral")
    with torch.no_grad():
        for _ in range(30):
            model(torch.randn(4, 2, 8, 12))
    model.eval()

    for layer in convolutions(model.discriminator):
        length = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert_close(length, torch.tensor(1.0), atol=0.05, rtol=0)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.discriminator.modules())


def test_without_normalization_scores_do_not_depend_on_the_batch():
    model, images = tiny(discriminator_norm="none"), torch.randn(4, 2, 8, 12)

    assert_close(model(images)[:2], model(images[:2]))


def test_the_class_changes_the_sample_and_its_score():
    model, latent = tiny(conditional=True, num_classes=3).eval(), torch.zeros(3, 5)
    generated = model.generate(latent, torch.tensor([0, 1, 2]))
    nn.init.normal_(model.discriminator.score.classes.weight)

    scores = [model(generated, torch.full((3,), number)) for number in (0, 1)]

    assert not torch.allclose(generated[0], generated[1], atol=1e-6)
    assert not torch.allclose(*scores)


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_weights_are_saved(norm):
    model, other = (
        tiny(discriminator_norm=norm).eval(),
        DCGAN((2, 8, 12), DARK, channels=3, latent_dim=5, kernel=4, smallest=2, discriminator_norm=norm).eval(),
    )

    other.load_state_dict(load(save(model.state_dict())))

    images = model.generate(torch.ones(2, 5))
    assert_close(other.generate(torch.ones(2, 5)), images)
    assert_close(other(images), model(images))


def test_data_with_another_pixel_range_is_rejected():
    with pytest.raises(
        ValueError, match=r'dcgan generates pixels from -1 to 1, .* from 0 to 1; set normalize = "symmetric"'
    ):
        DCGAN((1, 8, 8), (0.0, 1.0))


def test_odd_sides_are_rejected():
    with pytest.raises(ValueError, match="images of 7×8 pixels cannot be halved to 4×4 or more; expected even sides"):
        DCGAN((1, 7, 8), DARK)
