"""PixelCNN: what a pixel depends on, its likelihood, and images drawn from it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_generative import split_tensors
from dlpipe_generative.pixel_cnn import PixelCNN
from dlpipe_generative.pixel_likelihood import PixelLikelihood

from .conftest import CPU, Stripes

UNIT = (0.0, 1.0)


def network(shape, levels=3, *, deviation=0.5, **options):
    torch.manual_seed(1)
    model = PixelCNN(shape, UNIT, levels=levels, **{"blocks": 2, "channels": 4, **options}).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=deviation)
    return model.eval()


def order(shape):
    """The number of each pixel (C, H, W) in the order in which they are drawn."""
    channels, height, width = shape
    return torch.arange(channels * height * width).view(height, width, channels).permute(2, 0, 1)


@pytest.mark.parametrize("shape", [(1, 5, 6), (3, 4, 3)])
def test_a_pixel_depends_on_all_those_before_it_and_on_no_other(shape):
    model = network(shape, blocks=6, deviation=0.2)
    model.output[0] = model.output[2] = nn.Tanh()  # a ReLU would hide what it cuts off
    numbers = order(shape)
    images = torch.randint(3, (1, *shape), generator=torch.Generator().manual_seed(0)) / 2
    whole = model(images)[0]

    for place in itertools.product(*(range(size) for size in shape)):
        changed = images.clone()
        changed[0, *place] = 1.5 - changed[0, *place] if changed[0, *place] == 0.5 else 1 - changed[0, *place]
        depends = (model(changed)[0] - whole).abs() > 1e-12

        later = numbers > numbers[place]
        assert not depends[numbers < numbers[place]].any()
        assert depends[later].all()  # there is no blind spot


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 1, 3)])
def test_the_probabilities_of_all_images_add_up_to_one(shape):
    model = network(shape, levels=2, num_classes=3, conditional=True)
    images = torch.tensor(list(itertools.product((0.0, 1.0), repeat=6))).view(64, *shape)

    nats = model(images, torch.full((64,), 2))

    assert nats.shape == (64, *shape)
    assert_close((-nats.flatten(1).sum(1)).exp().sum(), torch.tensor(1.0, dtype=torch.float64))
    assert_close(model.loss(nats), nats.sum() / 64)


@pytest.mark.parametrize(("shape", "options"), [((1, 3, 2), {}), ((2, 2, 2), {}), ((1, 7, 2), {"kernel": 1})])
def test_images_are_drawn_by_the_shares_of_their_distributions(shape, options):
    model = network(shape, num_classes=4, conditional=True, **options)
    latent = torch.randn(20, model.latent_dim, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(20) % 4

    images = model.generate(latent, targets)

    shares = 0.5 * (1 + torch.erf(latent.double() / math.sqrt(2)))
    for number in range(model.latent_dim):
        place = tuple((order(shape) == number).nonzero()[0].tolist())
        probabilities = []
        for level in range(3):
            others = images.clone()
            others[:, *place] = level / 2
            probabilities.append((-model(others, targets)[:, *place]).exp())
        below = torch.stack(probabilities).cumsum(0)
        assert torch.equal(images[:, *place], (below < shares[:, number]).sum(0) / 2)


def test_samples_are_as_frequent_as_their_probability():
    model = network((1, 1, 2), levels=2)
    count = 4000
    latent = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))

    drawn = (model.generate(latent).view(count, 2) @ torch.tensor([2.0, 1.0])).long().bincount(minlength=4) / count

    images = torch.tensor(list(itertools.product((0.0, 1.0), repeat=2))).view(4, 1, 1, 2)
    probable = (-model(images).flatten(1).sum(1)).exp()
    assert ((drawn - probable).abs() < 4 * (probable * (1 - probable) / count).sqrt()).all()


def test_pixels_are_rounded_to_the_nearest_level():
    model = network((1, 1, 4), levels=5)

    assert model.rounded(torch.tensor([[[[0.0, 0.13, 0.37, 1.0]]]])).flatten().tolist() == [0, 1, 1, 4]
    assert model.rounded(torch.tensor([[[[-0.2, 1.3, 0.5, 0.9]]]])).flatten().tolist() == [0, 4, 2, 4]


def test_a_conditional_model_without_classes_is_refused():
    with pytest.raises(ValueError, match=r"expected targets \(2,\) from 0 to 3, got None"):
        network((1, 2, 3), num_classes=4, conditional=True)(torch.zeros(2, 1, 2, 3))


def test_other_pixel_ranges_are_refused():
    with pytest.raises(ValueError, match='generates pixels from 0 to 1, .* set normalize = "unit" for the data'):
        PixelCNN((1, 2, 3), (-1.0, 1.0))


def test_the_likelihood_is_a_mean_over_pixels_and_images(tmp_path):
    data, model, evaluator = Stripes(), network((1, 4, 6), levels=4).float(), PixelLikelihood()

    found = evaluator.evaluate(model, Examples(data, "test", CPU))

    nats = model(data.split("test").columns["images"]).detach()
    assert found["nats"] == pytest.approx(float(nats.flatten(1).sum(1).mean()), rel=1e-5)
    assert found["bits_per_dim"] == pytest.approx(float(nats.mean()) / math.log(2), rel=1e-5)
    scores = evaluator.example_scores()
    assert scores.scores[scores.rows.index(3)] == pytest.approx(float(nats[3].mean()) / math.log(2), rel=1e-5)
    assert [item.file for item in evaluator.write(tmp_path)] == ["bits.png"]


def test_bits_of_independent_pixels_are_those_of_the_frequencies_of_train(monkeypatch):
    data, model = Stripes(), network((1, 4, 6), levels=4).float()
    monkeypatch.setattr(split_tensors, "BATCH", 7)

    found = PixelLikelihood().evaluate(model, Examples(data, "test", CPU))

    train = model.rounded(data.split("train").columns["images"])
    frequencies = (1 + torch.stack([(train == level).sum(0) for level in range(4)])) / (len(train) + 4)
    test = model.rounded(data.split("test").columns["images"])
    expected = [
        -math.log2(frequencies[test[image, 0, row, column], 0, row, column])
        for image, row, column in itertools.product(range(15), range(4), range(6))
    ]
    assert found["independent_bits_per_dim"] == pytest.approx(sum(expected) / len(expected))


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(InputError, match="needs a model that generates images pixel by pixel, generative.pixel_cnn"):
        PixelLikelihood().evaluate(nn.Identity(), Examples(Stripes(), "test", CPU))
