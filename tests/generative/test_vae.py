import math
from itertools import islice

import pytest
import torch
from torch.distributions import Bernoulli, Normal
from torch.distributions import kl_divergence as torch_kl
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.training.supervised import Supervised
from dlpipe_generative.vae import VAE, kl_divergence, log_normal, reparameterize

CPU = Compute(torch.device("cpu"))
SHAPE, UNIT = (1, 4, 6), (0.0, 1.0)


def tiny(**options):
    torch.manual_seed(0)
    return VAE(SHAPE, UNIT, **{"hidden": (7, 5), "latent_dim": 3, **options})


def images(count=8):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)).round()


@pytest.mark.parametrize("net", ["dense", "conv"])
def test_shapes_are_those_of_images_and_codes(net):
    model = tiny(net=net, hidden=(5,))

    outputs = model(images())

    assert outputs.pixels.shape == outputs.target.shape == (8, *SHAPE)
    assert outputs.mean.shape == outputs.log_variance.shape == (8, 3)
    assert model.generate(torch.zeros(2, 3)).shape == (2, *SHAPE)


def test_the_divergence_agrees_with_torch_distributions():
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)

    expected = torch_kl(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1)

    assert_close(kl_divergence(mean, log_variance), expected)


def test_the_divergence_agrees_with_a_monte_carlo_estimate():
    torch.manual_seed(0)
    mean, log_variance = torch.tensor([[1.0, -0.5]]), torch.tensor([[-1.0, 0.3]])
    latent = reparameterize(mean, log_variance, torch.randn(200_000, 2))

    metrics = (log_normal(latent, mean, log_variance) - log_normal(latent, 0.0, 0.0)).sum(1).mean()

    assert_close(metrics, kl_divergence(mean, log_variance)[0], atol=0.01, rtol=0)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_likelihood_is_that_of_the_named_distribution_summed_over_pixels(likelihood):
    model, latent = tiny(likelihood=likelihood, likelihood_std=0.3), torch.randn(8, 3)
    outputs = model.generate(latent)
    of_pixels = Bernoulli(outputs) if likelihood == "bernoulli" else Normal(outputs, 0.3)

    assert_close(model.log_likelihood(images(), latent), of_pixels.log_prob(images()).flatten(1).sum(1))


def test_the_loss_is_a_sum_over_dimensions_and_a_mean_over_the_batch():
    model = tiny(beta=2.0).eval()
    outputs = model(images())

    each = 2.0 * kl_divergence(outputs.mean, outputs.log_variance) - model.log_likelihood(images(), outputs.mean)

    assert_close(model.loss(outputs), each.mean())
    assert model.loss(outputs) > 5  # about 24 pixels of ln 2 each


def test_the_weight_of_the_divergence_grows_linearly_over_the_warmup():
    model = tiny(warmup_steps=4, beta=3.0)
    outputs = model(images())
    divergence = kl_divergence(outputs.mean, outputs.log_variance).mean()

    weights = [(model.loss(outputs, step) - tiny(beta=0.0).loss(outputs)) / divergence for step in range(5)]

    assert_close(torch.stack(weights), torch.tensor([0.75, 1.5, 2.25, 3.0, 3.0]), atol=1e-3, rtol=0)
    assert_close(model.loss(outputs), model.loss(outputs, 4))


def test_gradient_accumulation_does_not_shorten_the_warmup(stripes, monkeypatch):
    model, weights = tiny(warmup_steps=4, beta=3.0), []
    weight_at = model._weight
    monkeypatch.setattr(model, "_weight", lambda step: weights.append(weight_at(step)) or weights[-1])
    trainer = Supervised(model, stripes, CPU, 0, batch_size=5, gradient_accumulation_steps=4)

    list(islice(trainer.steps(), 3))

    assert weights == [0.75] * 4 + [1.5] * 4 + [2.25] * 4


def test_grey_is_sampled_as_black_and_white_in_training_only():
    model, grey = tiny(), torch.full((400, *SHAPE), 0.25)

    first, second = model(grey).target, model(grey).target

    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(first, second)
    assert abs(float(first.mean()) - 0.25) < 0.02
    assert_close(model.eval()(grey).target, grey)
    assert_close(tiny(likelihood="gaussian")(grey).target, grey)


def test_noise_beyond_black_and_white_is_sampled_as_black_and_white():
    noisy = torch.tensor([-0.5, 1.5]).view(2, 1, 1, 1).expand(2, *SHAPE)

    assert torch.equal(tiny()(noisy).target, noisy.clamp(0, 1))


def test_the_class_changes_the_sample():
    model, latent = tiny(conditional=True, num_classes=3), torch.zeros(3, 3)

    outputs = model.generate(latent, torch.tensor([0, 1, 2]))

    assert not torch.allclose(outputs[0], outputs[1])
    with pytest.raises(ValueError, match=r"this model is conditional: expected targets \(3,\) from 0 to 2, got None"):
        model.generate(latent)


def test_conditional_needs_data_with_classes():
    with pytest.raises(
        ValueError, match="conditional = true: generative.vae needs the number of classes, but the data has no classes"
    ):
        tiny(conditional=True)


def test_one_batch_can_be_memorized():
    model = tiny(hidden=(64,), latent_dim=8, beta=0.0, likelihood="gaussian", likelihood_std=1.0)
    optimizer, batch = torch.optim.Adam(model.parameters(), lr=1e-2), images()
    for _ in range(400):
        optimizer.zero_grad()
        model.loss(model(batch)).backward()
        optimizer.step()

    least = 24 * 0.5 * math.log(2 * math.pi)  # of a density of deviation 1 at its center
    assert model.loss(model.eval()(batch)) < least + 0.5


def test_data_with_another_pixel_range_is_rejected():
    with pytest.raises(
        ValueError, match="generative.vae generates pixels from 0 to 1, but those of the data range from -0.42 to 2.82"
    ):
        VAE(SHAPE, (-0.42, 2.82))
