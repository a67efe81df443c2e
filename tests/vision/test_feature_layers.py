from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_vision.cnn import CNN
from dlpipe_vision.feature_layers import FeatureLayers
from dlpipe_vision.residual_net import ResidualNet

SHAPE = (3, 12, 8)


def network(channels: int = 3) -> CNN:
    torch.manual_seed(0)
    layers = [{"conv": 4, "norm": True}, {"pool": 2}, {"conv": 5}, {"dense": 6}]
    return CNN((channels, *SHAPE[1:]), 7, layers=layers)


def features(*layers: str, of: nn.Module | None = None, shape: tuple[int, int, int] = SHAPE) -> FeatureLayers:
    return FeatureLayers(of or network(), layers, shape, option="style_layers")


def test_the_maps_are_those_of_the_network():
    images, net = torch.rand(2, *SHAPE), network()

    maps = features("layers.0", "layers.2.conv", of=net)(images)

    net.eval()
    first = net.layers[0](images)
    assert_close(maps, {"layers.0": first, "layers.2.conv": net.layers[2].conv(net.layers[1](first))})


def test_an_activation_in_place_does_not_overwrite_the_maps_of_the_layer_before_it():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    images = torch.rand(2, *SHAPE)

    maps = FeatureLayers(net, ["0"], SHAPE, option="style_layers")(images)["0"]

    assert_close(maps, net[0](images))
    assert net[1].inplace  # the network itself is not changed


def test_images_of_other_sizes_than_those_of_training_have_maps():
    found = features("layers.2")

    assert found.shapes == {"layers.2": (5, 6, 4)}
    assert found(torch.rand(1, 3, 37, 53))["layers.2"].shape == (1, 5, 18, 26)


def test_a_residual_network_has_maps_of_its_blocks():
    found = features("stem", "blocks.2", of=ResidualNet(SHAPE, 7, depth=8, width=2))

    assert found.shapes == {"stem": (2, 12, 8), "blocks.2": (8, 3, 2)}


def test_the_network_is_neither_trained_nor_changed():
    net = network()
    found = features("layers.2", of=net).train()
    images = torch.rand(2, *SHAPE, requires_grad=True)

    found(images)["layers.2"].sum().backward()

    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(parameter.grad is None for parameter in [*net.parameters(), *found.parameters()])
    assert (
        net.layers[0].norm.num_batches_tracked == found.state_dict()["network.layers.0.norm.num_batches_tracked"] == 0
    )
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_layers_after_the_last_one_are_left_out():
    names = features("layers.0").state_dict()

    assert not [name for name in names if "layers.2" in name or "classifier" in name]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["layer.0"], 'style_layers: CNN has no layer "layer.0"; its convolutions are layers.0.conv'),
        (["layers.9"], 'CNN has no layer "layers.9"'),
        (["layers.0", "layers.0"], 'style_layers = ["layers.0", "layers.0"]: "layers.0" occurs twice; name each once'),
        (
            ["layers.3"],
            'the layer "layers.3" returns a tensor of shape (1, 6); expected feature maps (images, channels',
        ),
    ],
)
def test_layers_without_maps_are_refused(layers, message):
    with pytest.raises(InputError, match=re.escape(message)):
        features(*layers)


def test_the_nearest_layer_is_named():
    with pytest.raises(InputError, match=r'Did you mean "layers\.2\.conv"\?'):
        features("layers.2.cnv")


def test_a_network_of_grey_images_is_refused_for_colors():
    with pytest.raises(InputError, match="cannot take the images of this data, of 3 channels and 12×8 pixels"):
        features("layers.0", of=network(channels=1))


class Fickle(nn.Module):
    """A network whose forward pass depends on the values of images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, images):
        return self.conv(images) if images.sum() > 0 else images


def test_a_network_that_takes_different_ways_is_refused():
    with pytest.raises(InputError, match=r"the layers of Fickle cannot be found by torch\.fx: .*; expected a network"):
        features("conv", of=Fickle())
