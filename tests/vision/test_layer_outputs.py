"""Layers by name, and what they return; recording their outputs is tested with the pictures of layers."""

import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_vision.layer_outputs import feature_maps, require_layer


class Classifier(nn.Module):
    """A convolution, and a dense layer for images of 5×7 pixels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.activation = nn.ReLU(inplace=True)
        self.dense = nn.Linear(70, 3)
        self.unused = nn.Conv2d(1, 1, 1)

    def forward(self, images):
        return self.dense(self.activation(self.first(images)).flatten(1))


@pytest.mark.parametrize("shape", [(5, 7), (11, 4)])
def test_only_the_layers_up_to_the_one_that_is_asked_for_run(shape):
    model, images = Classifier(), torch.rand(2, 1, *shape)

    maps = feature_maps(model, "activation", images)

    assert_close(maps, model.first(images).relu())
    assert not any(part._forward_hooks for part in model.modules())


def test_gradients_reach_the_images():
    images = torch.rand(2, 1, 5, 7, requires_grad=True)

    feature_maps(Classifier(), "first", images).sum().backward()

    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("dense", r'layer = "dense" returns outputs of shape \(2, 3\); expected feature maps \(B, C, h, w\)'),
        ("unused", 'layer = "unused" does not run when Classifier gets images; choose another one'),
    ],
)
def test_a_layer_without_feature_maps_is_refused_and_leaves_no_hook(layer, message):
    model = Classifier()

    with pytest.raises(InputError, match=message):
        feature_maps(model, layer, torch.rand(2, 1, 5, 7))
    assert not any(part._forward_hooks for part in model.modules())


def test_a_layer_that_does_not_exist_is_refused_with_the_nearest_name():
    message = 'layer: Classifier has no layer "frist"; its convolutions are first, unused. Did you mean "first"?'

    with pytest.raises(InputError, match=re.escape(message)):
        require_layer(Classifier(), "frist")
