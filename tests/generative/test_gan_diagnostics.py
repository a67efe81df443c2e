import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe_generative.gan import GAN
from dlpipe_generative.gan_diagnostics import GANDiagnostics, mean_pairwise_distance


class Brightness(nn.Module):
    """A discriminator that takes bright images for real."""

    def forward(self, images, targets=None):
        return images.flatten(1).mean(1)


def model(generate):
    net = GAN(image_shape=(1, 4, 6), pixel_range=(-1.0, 1.0), hidden=(5,), latent_dim=3)
    net.discriminator, net.generate = Brightness(), generate
    return net


def test_scores_are_reported_as_probabilities(dark_stripes, dark_examples):
    evaluator = GANDiagnostics(count=9)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = evaluator.evaluate(
            model(lambda latent, targets: latent[:, :1, None, None].expand(-1, 1, 4, 6)), dark_examples
        )

    images = dark_stripes.split("test").columns["images"][torch.linspace(0, 14, 9).long()]
    assert_close(metrics["d_real"], float(images.flatten(1).mean(1).sigmoid().mean()))
    assert metrics["d_train"] != metrics["d_real"] != metrics["d_fake"]
    assert metrics["diversity"] > 0.5


def test_a_collapsed_generator_raises_a_warning(dark_examples):
    with pytest.warns(
        UserWarning,
        match=r"diversity = 0.00 is below collapse_threshold = 0.5: the generator has collapsed, .* try a lower lr",
    ):
        metrics = GANDiagnostics(count=9).evaluate(
            model(lambda latent, targets: torch.zeros(len(latent), 1, 4, 6)), dark_examples
        )

    assert metrics["diversity"] == 0


def test_the_probabilities_are_plotted(dark_examples, tmp_path):
    evaluator = GANDiagnostics(count=9)
    evaluator.evaluate(model(lambda latent, targets: torch.randn(len(latent), 1, 4, 6)), dark_examples)

    (item,) = evaluator.write(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["scores.png"] == [item.file]
    assert "score for 9 training, 9 test, 9 generated samples" in item.caption


def test_the_mean_pairwise_distance_is_over_all_pairs():
    assert mean_pairwise_distance(torch.tensor([[0.0], [3.0], [6.0]])) == pytest.approx((3 + 3 + 6) / 3)


def test_a_model_without_a_discriminator_is_rejected(dark_stripes):
    with pytest.raises(
        InputError, match="gan_diagnostics needs a model with a generator and a discriminator, .*; the model is Linear"
    ):
        GANDiagnostics().evaluate(nn.Linear(1, 1), Examples(dark_stripes, "dev", Compute(torch.device("cpu"))))
