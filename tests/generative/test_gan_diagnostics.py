import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe_generative.gan import GAN
from dlpipe_generative.gan_diagnostics import GANDiagnostics, spread


class Brightness(nn.Module):
    """A discriminator for which bright images are real."""

    def forward(self, images, targets=None):
        return images.flatten(1).mean(1)


def model(draw):
    net = GAN(image_shape=(1, 4, 6), pixel_range=(-1.0, 1.0), hidden=(5,), latent_dim=3)
    net.discriminator, net.draw = Brightness(), draw
    return net


def test_scores_are_told_as_probabilities(dark_stripes, dark_examples):
    judge = GANDiagnostics(count=9)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = judge.evaluate(
            model(lambda latent, targets: latent[:, :1, None, None].expand(-1, 1, 4, 6)), dark_examples
        )

    images = dark_stripes.split("test").columns["images"][torch.linspace(0, 14, 9).long()]
    assert_close(found["d_real"], float(images.flatten(1).mean(1).sigmoid().mean()))
    assert found["d_train"] != found["d_real"] != found["d_fake"]
    assert found["diversity"] > 0.5


def test_a_generator_that_draws_the_same_again_and_again_raises_the_alarm(dark_examples):
    with pytest.warns(
        UserWarning, match=r"the generator has collapsed, .* are 0.00 times as far apart .* Try|try a lower lr"
    ):
        found = GANDiagnostics(count=9).evaluate(
            model(lambda latent, targets: torch.zeros(len(latent), 1, 4, 6)), dark_examples
        )

    assert found["diversity"] == 0


def test_the_probabilities_are_drawn(dark_examples, tmp_path):
    judge = GANDiagnostics(count=9)
    judge.evaluate(model(lambda latent, targets: torch.randn(len(latent), 1, 4, 6)), dark_examples)

    judge.write(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["scores.png"]


def test_the_spread_is_the_mean_distance_of_two_things():
    assert spread(torch.tensor([[0.0], [3.0], [6.0]])) == pytest.approx((3 + 3 + 6) / 3)


def test_a_model_without_a_discriminator_is_refused(dark_stripes):
    with pytest.raises(InputError, match="gan_diagnostics needs a generator and a discriminator"):
        GANDiagnostics().evaluate(nn.Linear(1, 1), Examples(dark_stripes, "dev", Compute(torch.device("cpu"))))
