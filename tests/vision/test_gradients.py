"""Gradients are right: autograd against differences, and against backpropagation written out."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.nn import functional as F

from dlpipe.layers import Activation
from dlpipe.models.mlp import MLP
from dlpipe_vision.cnn import CNN

IMAGES = torch.rand(3, 2, 4, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 2, 1])


def check(make, train=False):
    """Compare the loss's gradients for images and all parameters with central differences, to 1e-6."""
    torch.manual_seed(0)
    model = make().double().train(train)
    names, values = zip(*model.named_parameters(), strict=True)

    def loss(images, *parameters):
        logits = functional_call(model, dict(zip(names, parameters, strict=True)), images)
        return F.cross_entropy(logits, TARGETS)

    return gradcheck(loss, (IMAGES.clone().requires_grad_(), *values), eps=1e-6, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("hidden", [(), (4, 3)])
def test_gradients_of_fully_connected_networks_are_correct(activation, hidden):
    assert check(lambda: MLP(image_shape=(2, 4, 5), num_classes=3, hidden=hidden, activation=activation))


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize(
    "layers",
    [
        [{"conv": 2, "kernel": 2, "stride": 2, "padding": 1}],
        [{"pool": 2}],
        [{"average_pool": 2}],
        [{"conv": 2}, {"global_pool": "max"}],
        [{"conv": 2}, {"global_pool": "average"}],
        [{"dense": 3}, {"dropout": 0.5}],
    ],
    ids=lambda layers: "-".join(next(iter(layer)) for layer in layers),
)
def test_gradients_of_every_layer_type_are_correct(layers, activation):
    assert check(lambda: CNN((2, 4, 5), 3, layers=layers, activation=activation))


@pytest.mark.parametrize("layer_type", ["conv", "dense"])
def test_gradients_through_batch_normalization_are_correct(layer_type):
    assert check(lambda: CNN((2, 4, 5), 3, layers=[{layer_type: 2, "norm": True}], activation="tanh"), train=True)


def backpropagate(weights, biases, images, targets):
    """Return the gradients of the mean cross-entropy of a network of sigmoid layers: one pair per layer."""
    activations = [images]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        activations.append(1 / (1 + np.exp(-(activations[-1] @ weight.T + bias))))
    logits = activations[-1] @ weights[-1].T + biases[-1]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = (probabilities - np.eye(logits.shape[1])[targets]) / len(images)  # d loss / d z of the last layer
    gradients = []
    for weight, below in zip(reversed(weights), reversed(activations), strict=True):
        gradients.append((error.T @ below, error.sum(0)))
        error = (error @ weight) * below * (1 - below)
    return gradients[::-1]


def test_hand_written_backpropagation_gives_the_gradients_of_autograd():
    torch.manual_seed(0)
    model = MLP(image_shape=(2, 4, 5), num_classes=3, hidden=(7, 6), activation="sigmoid").double()
    layers = [layer for layer in model.layers if isinstance(layer, nn.Linear)]
    F.cross_entropy(model(IMAGES), TARGETS).backward()

    gradients = backpropagate(
        [layer.weight.detach().numpy() for layer in layers],
        [layer.bias.detach().numpy() for layer in layers],
        IMAGES.flatten(1).numpy(),
        TARGETS.numpy(),
    )

    for layer, (weight, bias) in zip(layers, gradients, strict=True):
        np.testing.assert_allclose(weight, layer.weight.grad.numpy(), rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(bias, layer.bias.grad.numpy(), rtol=1e-6, atol=1e-12)
