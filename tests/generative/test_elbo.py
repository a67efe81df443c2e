import json
import math
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe_generative.elbo import Elbo, binarize, importance_weighted
from dlpipe_generative.vae import VAE, kl_divergence, log_normal


def model(**options):
    torch.manual_seed(0)
    return VAE((1, 4, 6), (0.0, 1.0), **{"hidden": (7, 5), "latent_dim": 3, **options}).eval()


def test_the_bound_is_the_likelihood_minus_the_divergence_and_the_weighted_bound_is_tighter(examples):
    metrics = Elbo(samples=20, importance_samples=20).evaluate(model(), examples)

    assert metrics["elbo"] == metrics["log_likelihood"] - metrics["kl"]
    assert metrics["elbo"] <= metrics["importance_weighted"] < 0
    assert metrics["bits_per_dim"] == -metrics["elbo"] / (24 * math.log(2))


def test_the_weighted_bound_of_a_linear_gaussian_model_is_its_likelihood():
    """Probabilistic PCA: x = W z + b + noise, whose likelihood and posterior are known."""
    torch.manual_seed(3)
    coder = model(hidden=(), likelihood="gaussian", likelihood_std=0.5, latent_dim=2)
    weights, bias = coder.decoder[0].weight.detach(), coder.decoder[0].bias.detach()
    images = torch.randn(4, 24)
    covariance = weights @ weights.T + 0.25 * torch.eye(24)
    expected = torch.distributions.MultivariateNormal(bias, covariance).log_prob(images)
    noise = torch.randn(50_000, 2)
    for image, right in zip(images, expected, strict=True):
        precision = torch.eye(2) + weights.T @ weights / 0.25
        mean = torch.linalg.solve(precision, weights.T @ (image - bias) / 0.25)
        wide = 1.5 * precision.inverse().diagonal().sqrt()  # not the posterior, so that weights differ
        latent = mean + wide * noise
        log_weights = (
            coder.log_likelihood(image.view(1, 1, 4, 6).expand(len(noise), -1, -1, -1), latent)
            + log_normal(latent, 0.0, 0.0).sum(1)
            - log_normal(latent, mean, 2 * wide.log()).sum(1)
        )

        assert_close(importance_weighted(log_weights[:, None])[0].detach(), right, atol=0.03, rtol=0)


class Colors:
    """Images (15, 3, 4, 6) of one split, each a little brighter than the one before."""

    splits = ("test",)
    facts: ClassVar = {}

    def split(self, name):
        noise = torch.rand(15, 3, 4, 6, generator=torch.Generator().manual_seed(0)) / 2
        return Columns({"images": noise + torch.arange(15).view(15, 1, 1, 1) / 30})


@pytest.mark.parametrize("batch_size", [256, 4])  # 4, 4, 4 and 3 images
def test_bounds_are_means_over_images_and_bits_are_per_pixel_and_channel(batch_size):
    torch.manual_seed(0)
    coder = VAE((3, 4, 6), (0.0, 1.0), hidden=(7,), latent_dim=3, likelihood="gaussian", likelihood_std=0.5).eval()
    with torch.no_grad():  # a posterior without spread, so that no random number matters
        coder.code.weight[3:], coder.code.bias[3:] = 0, -60

    compute = Compute(torch.device("cpu"), evaluation_batch_size=batch_size)
    metrics = Elbo().evaluate(coder, Examples(Colors(), "test", compute))

    images = Colors().split("test").columns["images"]
    mean, log_variance = coder.posterior(images)
    divergence = float(kl_divergence(mean, log_variance).double().mean())
    likelihood = float(coder.log_likelihood(images, mean).double().mean())
    assert metrics["kl"] == pytest.approx(divergence, rel=1e-5)
    assert metrics["log_likelihood"] == pytest.approx(likelihood, rel=1e-5)
    assert metrics["bits_per_dim"] == pytest.approx((divergence - likelihood) / (3 * 4 * 6 * math.log(2)), rel=1e-5)


def test_the_weighted_bound_is_the_logarithm_of_the_mean_weight():
    assert_close(importance_weighted(torch.tensor([[0.0], [math.log(3)]])), torch.tensor([math.log(2)]))


def test_metrics_are_reproducible_and_the_random_state_is_unchanged(examples):
    evaluator, coder = Elbo(importance_samples=3), model()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    first = evaluator.evaluate(coder, examples)

    assert torch.equal(torch.rand(1), expected)
    assert evaluator.evaluate(coder, examples) == first


def test_binarization_depends_on_the_row_only():
    grey = torch.full((3, 1, 4, 6), 0.5)

    both = binarize(grey, torch.tensor([7, 8, 9]))

    assert torch.equal(binarize(grey[:1], torch.tensor([8]))[0], both[1])
    assert set(both.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(both[0], both[1])


def test_uninformative_latent_dimensions_are_not_active(examples):
    coder = model()
    with torch.no_grad():
        coder.code.weight[1] = coder.code.bias[1] = 0
        coder.code.weight[2] *= 100

    active = Elbo().evaluate(coder, examples)["active_units"]

    assert 1 <= active <= 2


def test_the_report_has_likelihood_samples_and_unit(examples, tmp_path):
    evaluator = Elbo(importance_samples=2)
    evaluator.evaluate(model(), examples)

    (item,) = evaluator.write(tmp_path)

    assert (item.file, item.caption[:29]) == ("likelihood.json", "Means over 15 images, in nats")
    report = json.loads((tmp_path / "likelihood.json").read_text())
    assert (
        report["likelihood"] == "bernoulli, pixels sampled as black or white once, with their grey value as probability"
    )
    assert (report["importance_samples"], report["images"]) == (2, 15)
    assert report["unit"].startswith("nats per image")


def test_a_model_without_a_likelihood_is_rejected(examples):
    with pytest.raises(
        InputError, match="elbo needs the model generative.vae, which defines a likelihood; the model is a Linear"
    ):
        Elbo().evaluate(nn.Linear(1, 1), examples)
