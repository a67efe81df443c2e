from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_vision.residual_net import ResidualNet, ZeroPadding

CONNECTIONS = ("plain", "residual", "highway")


def tiny_net(**options):
    torch.manual_seed(0)
    return ResidualNet((2, 9, 7), 3, **{"depth": 8, "width": 5, **options})


def tiny_batch():
    """Return images (8, 2, 9, 7) and targets (8,)."""
    random = torch.Generator().manual_seed(0)
    return torch.rand(8, 2, 9, 7, generator=random), torch.randint(3, (8,), generator=random)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("pre_activation", [False, True])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_every_image_gets_one_logit_per_class(connection, pre_activation):
    images, _ = tiny_batch()

    assert tiny_net(connection=connection, pre_activation=pre_activation)(images).shape == (8, 3)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 1, 3)])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_the_defaults_accept_digits_and_photographs(shape, connection):
    assert ResidualNet(shape, 10, connection=connection)(torch.zeros(2, *shape)).shape == (2, 10)


def weights_of_the_paper(depth):
    """Count the weights of a residual network for CIFAR-10 with option A, as table 6 of the paper lists its layers."""
    blocks = (depth - 2) // 6
    convolutions = 3 * 16 + 2 * blocks * 16 * 16
    for channels in (32, 64):
        convolutions += channels // 2 * channels + (2 * blocks - 1) * channels * channels
    norms = 2 * (16 + 2 * blocks * (16 + 32 + 64))
    return 9 * convolutions + norms + 64 * 10 + 10


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7), (1202, 19.4)]
)
def test_the_number_of_weights_is_that_of_the_paper(depth, millions):
    with torch.device("meta"):
        found = count(ResidualNet((3, 32, 32), 10, depth=depth))

    assert found == weights_of_the_paper(depth)
    assert found == pytest.approx(millions * 1e6, rel=0.02)


def test_plain_networks_have_the_weights_of_residual_ones_and_shortcuts_of_convolutions_have_more():
    assert count(tiny_net(connection="plain")) == count(tiny_net())
    # 1×1 convolutions from 5 to 10 and from 10 to 20 channels, and their norms
    assert count(tiny_net(shortcut="convolution")) - count(tiny_net()) == 5 * 10 + 10 * 20 + 2 * (10 + 20)


@pytest.mark.parametrize("depth", [8, 20])
def test_depth_counts_the_layers_with_weights(depth):
    layers = [layer for layer in tiny_net(depth=depth).modules() if isinstance(layer, nn.Conv2d | nn.Linear)]

    assert len(layers) == depth


@pytest.mark.parametrize("pre_activation", [False, True])
def test_a_residual_block_of_zeros_is_the_identity(pre_activation):
    block = tiny_net(pre_activation=pre_activation).blocks[0].eval()
    maps = torch.rand(4, 5, 9, 7, generator=torch.Generator().manual_seed(0))
    for parameter in block.parameters():
        nn.init.zeros_(parameter)

    assert block(maps).equal(maps)


@pytest.mark.parametrize("pre_activation", [False, True])
def test_a_highway_block_with_its_gate_closed_is_the_identity_and_with_it_open_the_plain_block(pre_activation):
    highway, plain = (tiny_net(connection=each, pre_activation=pre_activation).blocks[0] for each in CONNECTIONS[::-2])
    plain.load_state_dict({name: each for name, each in highway.state_dict().items() if not name.startswith("gate")})
    maps = torch.rand(4, 5, 9, 7, generator=torch.Generator().manual_seed(0))
    (convolution, _) = highway.gate

    nn.init.constant_(convolution.bias, -1e9)
    closed = highway(maps)
    nn.init.constant_(convolution.bias, 1e9)
    opened = highway(maps)

    assert closed.equal(maps)
    assert_close(opened, plain(maps))


def test_a_residual_block_computes_the_formula():
    net = tiny_net().eval()
    block, maps = net.blocks[1], torch.rand(4, 5, 9, 7, generator=torch.Generator().manual_seed(0))
    first, first_norm, _, second, second_norm = block.layers
    for norm in (first_norm, second_norm):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)

    # The statistics of a norm that has seen nothing are 0 and 1.
    hidden = F.conv2d(maps, first.weight, stride=2, padding=1)
    hidden = (hidden / (1 + 1e-5) ** 0.5 * first_norm.weight[:, None, None] + first_norm.bias[:, None, None]).relu()
    hidden = F.conv2d(hidden, second.weight, padding=1)
    hidden = hidden / (1 + 1e-5) ** 0.5 * second_norm.weight[:, None, None] + second_norm.bias[:, None, None]
    around = torch.cat([maps[:, :, ::2, ::2], torch.zeros(4, 5, 5, 4)], dim=1)

    assert_close(block(maps), (hidden + around).relu())


def test_with_pre_activation_nothing_but_sums_stands_between_the_blocks():
    net = tiny_net(pre_activation=True).eval()
    images, _ = tiny_batch()
    for block in net.blocks:
        nn.init.zeros_(block.layers[-1].weight)

    maps = net.stem(images)
    for _ in range(2):
        maps = ZeroPadding()(maps)

    assert (maps < 0).any()
    assert net.blocks(net.stem(images)).equal(maps)


def test_the_gates_start_with_the_given_bias():
    gates = [block.gate[0] for block in tiny_net(connection="highway", gate_bias=-1.5).blocks]

    assert all((gate.bias == -1.5).all() for gate in gates)
    assert all(gate.weight.any() for gate in gates)


def test_images_lose_half_of_their_size_twice():
    net, sizes = tiny_net(depth=14), []
    for block in net.blocks:
        block.register_forward_hook(lambda _, __, maps: sizes.append(tuple(maps.shape[1:])))
    net(tiny_batch()[0])

    assert sizes == [(5, 9, 7)] * 2 + [(10, 5, 4)] * 2 + [(20, 3, 2)] * 2


def test_a_bypass_is_what_remains_without_a_block():
    net, maps = tiny_net(connection="plain"), torch.rand(4, 5, 9, 7)
    bypasses = net.bypasses()

    assert list(bypasses) == ["blocks.0", "blocks.1", "blocks.2"]
    assert bypasses["blocks.0"](maps).equal(maps)
    assert bypasses["blocks.1"](maps).equal(ZeroPadding()(maps))


def test_a_bypass_ends_with_the_activation_of_the_block():
    net, maps = tiny_net(shortcut="convolution").eval(), torch.randn(4, 5, 9, 7)
    left = net.bypasses()["blocks.1"](maps)

    assert left.equal(net.blocks[1].shortcut(maps).relu())
    assert not left.equal(net.blocks[1].shortcut(maps))


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_initial_weights_are_hes(connection):
    torch.manual_seed(0)
    shortcut = {} if connection == "plain" else {"shortcut": "convolution"}
    net = ResidualNet((1, 8, 8), 10, depth=8, width=40, connection=connection, **shortcut)

    # Those of the shortcuts have 1×1 weights of 40 and 80 channels.
    for layer in (layer for layer in net.modules() if isinstance(layer, nn.Conv2d)):
        assert_close(layer.weight.std(), torch.tensor((2 / layer.weight[0].numel()) ** 0.5), rtol=0.1, atol=0)


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_the_first_convolution_returns_channels_last_maps(connection):
    maps = tiny_net(connection=connection).stem(torch.zeros(2, 2, 9, 7))

    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert not maps.is_contiguous()


def test_the_score_of_an_image_does_not_depend_on_its_batch():
    net = tiny_net(connection="highway").eval()
    images, _ = tiny_batch()

    assert_close(net(images)[3:5], net(images[3:5]))


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_one_batch_is_memorized(connection):
    net = tiny_net(connection=connection)
    images, targets = tiny_batch()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)

    for _ in range(60):
        loss = F.cross_entropy(net(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss < 0.05


def test_weights_survive_saving_and_loading(tmp_path):
    net, other = tiny_net(connection="highway"), tiny_net(connection="highway").eval()
    images, _ = tiny_batch()
    net(images)  # moves the running means of the norms
    for parameter in other.parameters():
        nn.init.zeros_(parameter)

    save_model(net, str(tmp_path / "weights.safetensors"))
    load_model(other, str(tmp_path / "weights.safetensors"))

    assert other(images).equal(net.eval()(images))


@pytest.mark.parametrize(
    ("depth", "expected"), [(1, "8 or 14"), (2, "8 or 14"), (21, "20 or 26"), (56 + 5, "56 or 62")]
)
def test_another_depth_is_refused(depth, expected):
    with pytest.raises(InputError, match=rf"depth = {depth}: expected 6 n \+ 2, .* such as {expected}$"):
        tiny_net(depth=depth)
