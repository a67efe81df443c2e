import pytest
import torch
from torch import nn

from dlpipe.errors import InputError
from dlpipe_generative.autoencoder import AutoEncoder
from dlpipe_generative.contracts import Adversaries, Draws, Encodes, column_of, require
from dlpipe_generative.gan import GAN
from dlpipe_generative.wishes import with_class


def test_models_are_what_they_can_do():
    coder = AutoEncoder((1, 4, 6), (0.0, 1.0), hidden=(5,))
    adversaries = GAN(point_dim=2, hidden=(5,))

    assert require(coder, Draws, "here") is require(coder, Encodes, "here") is coder
    assert require(adversaries, Draws, "here") is require(adversaries, Adversaries, "here") is adversaries


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (
            nn.Linear(1, 1),
            Draws,
            "here needs models that draw, such as generative.vae or generative.dcgan; this model is Linear",
        ),
        (GAN(point_dim=2), Encodes, "here needs models that encode and draw, .*; this model is GAN"),
        (
            AutoEncoder((1, 4, 6), (0.0, 1.0)),
            Adversaries,
            "here needs a generator and a discriminator, .* is AutoEncoder",
        ),
    ],
)
def test_a_model_that_cannot_is_refused(model, kind, message):
    with pytest.raises(InputError, match=message):
        require(model, kind, "here")


def test_images_come_before_points():
    assert column_of(["targets", "points", "images"], "here") == "images"
    assert column_of(["points"], "here") == "points"


def test_a_class_stands_beside_the_numbers_as_one_of_all():
    numbers = torch.tensor([[0.5, 2.0], [1.0, 3.0]])

    told = with_class(numbers, torch.tensor([2, 0]), 3)

    assert told.tolist() == [[0.5, 2, 0, 0, 1], [1, 3, 1, 0, 0]]
    assert with_class(numbers, None, None) is numbers
