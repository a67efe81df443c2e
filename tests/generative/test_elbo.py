import json
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_generative.elbo import Elbo, binarised, importance_weighted
from dlpipe_generative.vae import VAE, log_normal


def model(**options):
    torch.manual_seed(0)
    return VAE((1, 4, 6), (0.0, 1.0), **{"hidden": (7, 5), "latent_dim": 3, **options}).eval()


def test_the_bound_is_the_likelihood_less_the_divergence_and_the_weighted_one_is_tighter(examples):
    found = Elbo(samples=20, importance_samples=20).evaluate(model(), examples)

    assert found["elbo"] == found["log_likelihood"] - found["kl"]
    assert found["elbo"] <= found["importance_weighted"] < 0
    assert found["bits_per_dim"] == -found["elbo"] / (24 * math.log(2))


def test_the_weighted_bound_of_a_linear_gaussian_model_is_its_likelihood():
    """Probabilistic PCA: x = W z + b + noise, whose likelihood and posterior are known."""
    torch.manual_seed(3)
    coder = model(hidden=(), likelihood="gaussian", likelihood_std=0.5, latent_dim=2)
    weights, bias = coder.decoder[0].weight.detach(), coder.decoder[0].bias.detach()
    images = torch.randn(4, 24)
    covariance = weights @ weights.T + 0.25 * torch.eye(24)
    wanted = torch.distributions.MultivariateNormal(bias, covariance).log_prob(images)
    noise = torch.randn(50_000, 2)
    for image, right in zip(images, wanted, strict=True):
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


def test_the_mean_of_weights_is_taken_not_of_their_logarithms():
    assert_close(importance_weighted(torch.tensor([[0.0], [math.log(3)]])), torch.tensor([math.log(2)]))


def test_the_same_numbers_come_again_and_training_draws_on_undisturbed(examples):
    judge, coder = Elbo(importance_samples=3), model()
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)

    first = judge.evaluate(coder, examples)

    assert torch.equal(torch.rand(1), wanted)
    assert judge.evaluate(coder, examples) == first


def test_an_image_is_made_black_and_white_by_its_number_alone():
    grey = torch.full((3, 1, 4, 6), 0.5)

    both = binarised(grey, torch.tensor([7, 8, 9]))

    assert torch.equal(binarised(grey[:1], torch.tensor([8]))[0], both[1])
    assert set(both.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(both[0], both[1])


def test_numbers_of_the_code_that_say_nothing_are_not_active(examples):
    coder = model()
    with torch.no_grad():
        coder.code.weight[1] = coder.code.bias[1] = 0
        coder.code.weight[2] *= 100

    active = Elbo().evaluate(coder, examples)["active_units"]

    assert 1 <= active <= 2


def test_the_file_says_likelihood_samples_and_unit(examples, tmp_path):
    judge = Elbo(importance_samples=2)
    judge.evaluate(model(), examples)

    judge.write(tmp_path)

    told = json.loads((tmp_path / "likelihood.json").read_text())
    assert told["likelihood"] == "bernoulli, pixels made black or white once, by their grey"
    assert (told["importance_samples"], told["images"]) == (2, 15)
    assert told["unit"].startswith("nats per image")


def test_a_model_without_a_likelihood_is_refused(examples):
    with pytest.raises(InputError, match="elbo judges generative.vae, which tells a likelihood; this model is Linear"):
        Elbo().evaluate(nn.Linear(1, 1), examples)
