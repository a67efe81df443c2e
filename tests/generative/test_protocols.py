import pytest
import torch
from torch import nn

from dlpipe.errors import InputError
from dlpipe_generative.autoencoder import AutoEncoder
from dlpipe_generative.conditioning import append_class
from dlpipe_generative.gan import GAN
from dlpipe_generative.protocols import AdversarialModel, EncodingModel, GenerativeModel, require, sample_column


def test_a_model_implements_the_protocols_whose_methods_it_has():
    coder = AutoEncoder((1, 4, 6), (0.0, 1.0), hidden=(5,))
    adversaries = GAN(point_dim=2, hidden=(5,))

    assert require(coder, GenerativeModel, "here") is require(coder, EncodingModel, "here") is coder
    assert (
        require(adversaries, GenerativeModel, "here") is require(adversaries, AdversarialModel, "here") is adversaries
    )


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (
            nn.Linear(1, 1),
            GenerativeModel,
            "here needs a generative model, such as generative.vae or generative.dcgan; the model is Linear",
        ),
        (GAN(point_dim=2), EncodingModel, "here needs a model that encodes images, .*; the model is GAN"),
        (
            AutoEncoder((1, 4, 6), (0.0, 1.0)),
            AdversarialModel,
            "here needs a model with a generator and a discriminator, .*; the model is AutoEncoder",
        ),
    ],
)
def test_a_model_without_the_methods_is_rejected(model, kind, message):
    with pytest.raises(InputError, match=message):
        require(model, kind, "here")


def test_images_come_before_points():
    assert sample_column(["targets", "points", "images"], "here") == "images"
    assert sample_column(["points"], "here") == "points"


def test_a_class_is_appended_to_the_features_as_one_hot():
    numbers = torch.tensor([[0.5, 2.0], [1.0, 3.0]])

    report = append_class(numbers, torch.tensor([2, 0]), 3)

    assert report.tolist() == [[0.5, 2, 0, 0, 1], [1, 3, 1, 0, 0]]
    assert append_class(numbers, None, None) is numbers
