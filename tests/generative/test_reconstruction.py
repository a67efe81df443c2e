import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_generative import reconstruction
from dlpipe_generative.autoencoder import AutoEncoder
from dlpipe_generative.principal_components import PrincipalComponents
from dlpipe_generative.reconstruction import Reconstruction


def model(**options):
    torch.manual_seed(0)
    return AutoEncoder((1, 4, 6), (0.0, 1.0), hidden=(7,), latent_dim=2, **options).eval()


def test_errors_are_means_over_pixels_and_images(stripes, examples):
    images = stripes.split("test").columns["images"]
    linear = PrincipalComponents.fit(stripes.split("train").columns["images"], 2)

    metrics = Reconstruction((0.0, 1.0)).evaluate(model(), examples)

    expected = (model()(images) - images).square().mean().detach()
    assert_close(metrics["mse"], float(expected))
    assert_close(metrics["pca_mse"], float((linear.reconstruct(images) - images).square().mean()))
    assert metrics["pca_mse"] < metrics["mse"]  # the model is untrained


def test_errors_are_relative_to_the_pixel_range(examples):
    whole = Reconstruction((0.0, 1.0)).evaluate(model(), examples)["mse"]

    assert_close(Reconstruction((-1.0, 1.0)).evaluate(model(), examples)["mse"], whole / 4)


def test_with_noise_errors_are_measured_against_the_clean_images(examples):
    metrics = Reconstruction((0.0, 1.0), noise=0.5).evaluate(model(), examples)

    assert abs(metrics["noise_mse"] - 0.25) < 0.05
    assert metrics["mse"] != Reconstruction((0.0, 1.0)).evaluate(model(), examples)["mse"]


def test_noise_is_reproducible_and_leaves_the_random_state_unchanged(examples):
    evaluator, coder = Reconstruction((0.0, 1.0), noise=0.5), model()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    first = evaluator.evaluate(coder, examples)
    next_number = torch.rand(1)
    second = evaluator.evaluate(coder, examples)

    assert first == second
    assert torch.equal(next_number, expected)


def test_images_are_shown_above_their_reconstructions(examples, tmp_path, grid_names):
    names = grid_names(reconstruction)
    evaluator = Reconstruction((0.0, 1.0))
    evaluator.evaluate(model(), examples)

    (item,) = evaluator.write(tmp_path)

    assert Image.open(tmp_path / item.file).height == 14 + 3 * (4 * 10 + 2) + 2
    classes = (["left", "middle", "middle"] * 4)[:10]
    assert names == [{"row_names": ["original", "net", "2 principal\ncomponents"], "column_names": classes}]
    assert item.caption.startswith("Rows from the top: the first 10 images of test; what the model makes of them (mean")
    assert "principal component analysis with 2 components" in item.caption


def test_noisy_images_are_shown_below_the_originals(examples, tmp_path, grid_names):
    names = grid_names(reconstruction)
    evaluator = Reconstruction((0.0, 1.0), noise=0.5)
    evaluator.evaluate(model(), examples)

    caption = evaluator.write(tmp_path)[0].caption

    assert names[0]["row_names"][:3] == ["original", "noisy", "net"]
    assert "images of test; the same with noise of standard deviation 0.5; what" in caption


def test_a_model_that_does_not_encode_is_rejected(examples):
    with pytest.raises(InputError, match="needs a model that encodes images, such as .*; the model is Linear"):
        Reconstruction((0.0, 1.0)).evaluate(torch.nn.Linear(2, 3), examples)
