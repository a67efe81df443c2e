import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.config.check import load_pipeline
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe.registry.loading import load_plugins
from dlpipe_generative.gan import GAN
from dlpipe_generative.gan_diagnostics import GANDiagnostics, mean_pairwise_distance


class Brightness(nn.Module):
    """A discriminator that takes bright images for real."""

    offset = 0.0

    def forward(self, images, targets=None):
        return images.flatten(1).mean(1) + self.offset


class Normalized(nn.Module):
    """Scores an image by its normalized brightness."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, images, targets=None):
        return self.norm(images.flatten(1).mean(1, keepdim=True))[:, 0]


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

    for name, split, last in (("d_real", "test", 14), ("d_train", "train", 59)):
        images = dark_stripes.split(split).columns["images"][torch.linspace(0, last, 9).long()]
        assert_close(metrics[name], float(images.flatten(1).mean(1).sigmoid().mean()))
    latent = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    assert_close(metrics["d_fake"], float(latent[:, 0].sigmoid().mean()))
    assert metrics["diversity"] > 0.5


def test_the_scores_of_a_critic_are_reported_as_differences(dark_stripes, dark_examples, tmp_path):
    def measured(offset, loss):
        net = model(lambda latent, targets: latent[:, :1, None, None].expand(-1, 1, 4, 6))
        net.discriminator.offset = offset
        evaluator = GANDiagnostics(count=9, loss=loss)
        return evaluator.evaluate(net, dark_examples), evaluator.write(tmp_path)[0].caption

    metrics, caption = measured(0.0, "wgan_gp")
    other, _ = measured(50.0, "wgan_gp")

    test = dark_stripes.split("test").columns["images"][torch.linspace(0, 14, 9).long()]
    latent = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    assert list(metrics) == ["d_train", "d_real", "diversity"]
    assert_close(metrics["d_real"], float(test.mean() - latent[:, 0].mean()))
    assert_close(other, metrics, rtol=0, atol=1e-4)
    assert caption.startswith("Histograms of the critic's score for 9 training, 9 test, 9 generated samples, above")
    assert measured(50.0, "hinge")[0]["d_real"] == 1


def test_the_loss_is_that_of_the_trainer(root):
    pipeline = load_pipeline(root / "pipelines/dcgan_digits.toml", load_plugins(), ["trainer.loss='wgan_gp'"])

    assert pipeline.stages[""].from_trainer("balance") == {"loss": "wgan_gp"}


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


def test_batch_normalization_of_the_discriminator_uses_its_running_statistics(dark_stripes, dark_examples):
    net = GAN(image_shape=(1, 4, 6), pixel_range=(-1.0, 1.0), hidden=(5,), latent_dim=3)
    norm = nn.BatchNorm1d(1)
    norm.running_mean.fill_(0.25)
    norm.running_var.fill_(4.0)
    net.discriminator = Normalized(norm)
    net.train()

    metrics = GANDiagnostics(count=9).evaluate(net, dark_examples)

    images = dark_stripes.split("test").columns["images"][torch.linspace(0, 14, 9).long()]
    scores = (images.flatten(1).mean(1) - 0.25) / (4.0 + norm.eps) ** 0.5
    assert_close(metrics["d_real"], float(scores.sigmoid().mean()))
    assert norm.running_mean.item() == 0.25  # nor is it changed by the samples of the evaluation


def test_the_diversity_of_samples_far_from_the_origin_is_exact():
    near = torch.randint(0, 1000, (40, 1), generator=torch.Generator().manual_seed(0)) / 1024

    assert mean_pairwise_distance(near + 1e4) == pytest.approx(mean_pairwise_distance(near), abs=1e-9)


def test_the_mean_pairwise_distance_is_over_all_pairs():
    assert mean_pairwise_distance(torch.tensor([[0.0], [3.0], [6.0]])) == pytest.approx((3 + 3 + 6) / 3)


def test_a_model_without_a_discriminator_is_rejected(dark_stripes):
    with pytest.raises(
        InputError, match="gan_diagnostics needs a model with a generator and a discriminator, .*; the model is Linear"
    ):
        GANDiagnostics().evaluate(nn.Linear(1, 1), Examples(dark_stripes, "dev", Compute(torch.device("cpu"))))
