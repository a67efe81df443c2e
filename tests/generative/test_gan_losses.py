import math

import pytest
import torch
from torch.testing import assert_close

from dlpipe_generative.gan_losses import discriminator_loss, generator_loss, gradient_penalty

REAL, FAKE = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-3.0, 0.0, 1.5])


def test_the_non_saturating_losses_are_those_of_the_paper():
    real, fake = REAL.sigmoid(), FAKE.sigmoid()

    assert_close(discriminator_loss("non_saturating", REAL, FAKE), -(real.log().mean() + (1 - fake).log().mean()))
    assert_close(generator_loss("non_saturating", FAKE), -fake.log().mean())


def test_label_smoothing_is_one_sided():
    real, fake = REAL.sigmoid(), FAKE.sigmoid()
    expected = -(0.9 * real.log() + 0.1 * (1 - real).log()).mean() - (1 - fake).log().mean()

    assert_close(discriminator_loss("non_saturating", REAL, FAKE, 0.1), expected)


def test_the_hinge_loss_counts_scores_within_the_margin():
    assert_close(discriminator_loss("hinge", REAL, FAKE), torch.tensor((0 + 2 + 0.5) / 3 + (0 + 1 + 2.5) / 3))
    assert_close(generator_loss("hinge", FAKE), torch.tensor(0.5))


def test_the_wasserstein_loss_is_the_difference_of_mean_scores():
    assert_close(discriminator_loss("wgan_gp", REAL, FAKE), torch.tensor(-1.0))
    assert_close(generator_loss("wgan_gp", FAKE), torch.tensor(0.5))


@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_the_penalty_is_the_squared_deviation_of_gradient_norms_from_1(slope):
    direction = torch.tensor([0.6, 0.8]) * slope
    real, fake = torch.randn(5, 2), torch.randn(5, 2)

    penalty = gradient_penalty(lambda samples: samples @ direction, real, fake, torch.rand(5))

    assert_close(penalty, torch.tensor((slope - 1) ** 2))


def test_the_penalty_is_taken_between_real_and_generated_samples_and_is_differentiable():
    points = []
    curvature = torch.ones((), requires_grad=True)

    def score(samples):
        points.append(samples.detach())
        return curvature * samples.square().sum(1)

    gradient_penalty(score, torch.tensor([[4.0]]), torch.tensor([[0.0]]), torch.tensor([0.25])).backward()

    assert_close(points[0], torch.tensor([[1.0]]))
    assert_close(curvature.grad, torch.tensor(2 * (2 * 1.0 - 1) * 2))
    assert math.isfinite(curvature.grad)
