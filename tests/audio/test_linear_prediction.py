"""Linear prediction: the weights it finds, and the probabilities that follow."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from dlpipe_audio import linear_prediction
from dlpipe_audio.linear_prediction import LinearPrediction
from dlpipe_audio.mu_law import to_levels


def resonance(count, samples, seed=0):
    """Levels of a process that is 1.6 times the sample before minus 0.8 times the one before it, and noise."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.01 * torch.randn(samples, count, generator=generator, dtype=torch.float64)
    waves = [torch.zeros(count), torch.zeros(count)]
    for each in noise:
        waves.append(1.6 * waves[-1] - 0.8 * waves[-2] + each)
    return to_levels(torch.stack(waves[2:], 1))


def fitted(samples, lengths, order):
    model = LinearPrediction(order=order)
    model.fit(samples, lengths)
    return model


def test_it_finds_the_weights_of_a_process():
    samples = resonance(20, 2000)

    model = fitted(samples, torch.full((20,), 2000), order=2)

    assert_close(model.coefficients, torch.tensor([1.6, -0.8], dtype=torch.float64), atol=0.02, rtol=0)


def test_the_bits_are_those_of_the_noise():
    samples, lengths = resonance(20, 2000), torch.full((20,), 2000)
    model = fitted(samples, lengths, order=4)
    others = resonance(5, 2000, seed=1)

    nats = model(others, torch.full((5,), 2000))

    # The entropy of the noise, less the width of the levels where the samples are.
    edges = model.edges
    widths = (edges[others + 1] - edges[others]).log().mean()
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.01**2)
    assert float(nats.mean()) == pytest.approx(float(entropy - widths), abs=0.1)


def test_the_probabilities_of_all_levels_of_a_sample_add_up_to_one():
    model = fitted(resonance(3, 200), torch.full((3,), 200), order=3)
    samples = resonance(1, 40).repeat(256, 1)
    samples[:, -1] = torch.arange(256)

    nats = model(samples, torch.full((256,), 40))[:, -1]

    assert_close((-nats.double()).exp().sum(), torch.tensor(1.0, dtype=torch.float64), atol=1e-5, rtol=0)


def test_a_sample_is_predicted_from_those_before_it_only():
    model = fitted(resonance(3, 200), torch.full((3,), 200), order=3)
    samples = resonance(2, 30)
    changed = samples.clone()
    changed[:, 20] = 250

    difference = (model(changed, torch.full((2,), 30)) - model(samples, torch.full((2,), 30))).abs()

    assert difference[:, :20].max() == 0
    assert difference[:, 20:24].min() > 0


def test_padding_has_no_effect_on_what_is_learned_and_scored():
    samples = resonance(2, 120)
    lengths = torch.tensor([120, 70])
    padded = samples.clone()
    padded[1, 70:] = 3

    for name, values in fitted(padded, lengths, order=3).state_dict().items():
        other = samples.clone()
        other[1, 70:] = 200
        assert torch.equal(values, fitted(other, lengths, order=3).state_dict()[name])
    model = fitted(samples, lengths, order=3)
    nats = model(padded, lengths)
    assert nats[1, 70:].abs().max() == 0
    assert_close(nats[1:, :70], model(padded[1:, :70], lengths[1:]))
    assert model.loss(nats, lengths) == pytest.approx(float(nats.sum()) / 190)
    assert model.count_loss_terms(lengths) == 190


def test_the_order_of_the_recordings_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    loud = torch.randint(256, (6, 60), generator=generator)
    samples = torch.cat([loud, torch.randint(120, 136, (6, 60), generator=generator)])
    lengths = torch.full((12,), 60)

    one = fitted(samples, lengths, order=2).state_dict()
    other = fitted(samples[torch.randperm(12, generator=generator)], lengths, order=2).state_dict()

    for name, values in one.items():
        assert_close(values, other[name])


def test_many_recordings_are_fitted_to_as_few_are(monkeypatch):
    samples, lengths = resonance(7, 50), torch.tensor([50, 40, 50, 31, 50, 22, 50])
    whole = fitted(samples, lengths, order=3).state_dict()
    monkeypatch.setattr(linear_prediction, "AT_A_TIME", 2)

    for name, values in fitted(samples, lengths, order=3).state_dict().items():
        assert_close(values, whole[name])


def test_silence_can_be_learned():
    samples = torch.full((2, 50), 128)

    model = fitted(samples, torch.tensor([50, 40]), order=32)

    assert float(model(samples, torch.tensor([50, 40]))[0].mean()) < 0.1
