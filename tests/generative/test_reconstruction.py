import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_generative.autoencoder import AutoEncoder
from dlpipe_generative.principal_components import Components
from dlpipe_generative.reconstruction import Reconstruction


def model(**options):
    torch.manual_seed(0)
    return AutoEncoder((1, 4, 6), (0.0, 1.0), hidden=(7,), latent_dim=2, **options).eval()


def test_errors_are_means_over_pixels_and_images(stripes, examples):
    images = stripes.split("test").columns["images"]
    linear = Components.of(stripes.split("train").columns["images"], 2)

    found = Reconstruction((0.0, 1.0)).evaluate(model(), examples)

    wanted = (model()(images) - images).square().mean().detach()
    assert_close(found["mse"], float(wanted))
    assert_close(found["pca_mse"], float((linear.again(images) - images).square().mean()))
    assert found["pca_mse"] < found["mse"]  # nothing was learned yet


def test_an_error_counts_the_range_of_the_pixels_as_1(examples):
    whole = Reconstruction((0.0, 1.0)).evaluate(model(), examples)["mse"]

    assert_close(Reconstruction((-1.0, 1.0)).evaluate(model(), examples)["mse"], whole / 4)


def test_with_noise_it_is_judged_by_the_images_without(examples):
    found = Reconstruction((0.0, 1.0), noise=0.5).evaluate(model(), examples)

    assert abs(found["noise_mse"] - 0.25) < 0.05
    assert found["mse"] != Reconstruction((0.0, 1.0)).evaluate(model(), examples)["mse"]


def test_noise_is_the_same_each_time_and_training_draws_on_uninterrupted(examples):
    judge, coder = Reconstruction((0.0, 1.0), noise=0.5), model()
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)

    first = judge.evaluate(coder, examples)
    drawn_next = torch.rand(1)
    second = judge.evaluate(coder, examples)

    assert first == second
    assert torch.equal(drawn_next, wanted)


def test_images_stand_above_what_was_made_of_them(examples, tmp_path):
    judge = Reconstruction((0.0, 1.0))
    judge.evaluate(model(), examples)

    judge.write(tmp_path)

    picture = Image.open(tmp_path / "reconstructions.png")
    assert picture.size == (10 * (6 * 10 + 2) + 2, 3 * (4 * 10 + 2) + 2)


def test_a_model_that_does_not_encode_is_refused(examples):
    with pytest.raises(InputError, match="needs models that encode and draw, such as .*; this model is Linear"):
        Reconstruction((0.0, 1.0)).evaluate(torch.nn.Linear(2, 3), examples)
