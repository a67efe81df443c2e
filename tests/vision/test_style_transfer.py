from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_vision.cnn import CNN
from dlpipe_vision.residual_net import ResidualNet
from dlpipe_vision.style_transfer import Decoder, StyleTransfer

SHAPE = (3, 12, 8)


def network(channels: int = 3, **more: bool) -> CNN:
    torch.manual_seed(0)
    layers = [{"conv": 4, "norm": True}, {"pool": 2}, {"conv": 5, **more}]
    return CNN((channels, *SHAPE[1:]), 7, layers=layers)


def transfer(shape: tuple[int, int, int] = SHAPE, **options) -> StyleTransfer:
    features = network(shape[0])
    options = {"content_layer": "layers.2", "style_layers": ["layers.0", "layers.2"], "width": 6} | options
    return StyleTransfer(shape, (0.0, 1.0), features, **options)


def pictures(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(12, 8), (37, 53), (5, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_has_the_size_of_its_content_whatever_that_of_the_style(size, channels):
    model = transfer((channels, 12, 8))

    outputs = model(pictures(2, channels, *size), pictures(2, channels, 9, 16))

    assert outputs["pictures"].shape == (2, channels, *size)
    assert model.predict(outputs) is outputs["pictures"]
    assert outputs["pictures"].min() >= 0
    assert outputs["pictures"].max() <= 1


@pytest.mark.parametrize("colors", [False, True])
def test_the_decoder_gets_the_content_with_the_statistics_of_the_style(colors):
    model = transfer(colors=colors)
    images, styles = pictures(2, *SHAPE), pictures(2, 3, 9, 16, seed=2)

    target = model(images, styles)["target"]

    content, style = (model.encode(each)["layers.2"] for each in (images, styles))
    assert target.shape == (2, 8 if colors else 5, 6, 4)
    assert_close(target.mean((2, 3)), style.mean((2, 3)))
    assert_close(target.std((2, 3), correction=0), style.std((2, 3), correction=0), atol=3e-3, rtol=0)
    normalized = [F.instance_norm(maps) for maps in (target, content)]
    assert_close(*normalized, atol=2e-2, rtol=3e-2)


def test_the_loss_is_that_of_the_paper():
    model = transfer(style_weight=3.0)
    images, styles = pictures(2, *SHAPE), pictures(2, *SHAPE, seed=2)

    outputs = model(images, styles)

    drawn, style = model.encode(outputs["pictures"]), model.encode(styles)
    expected = ((drawn["layers.2"] - outputs["target"]) ** 2).mean()
    for layer in ("layers.0", "layers.2", "pixels"):
        for statistic in (torch.mean, lambda maps, axes: (maps.var(axes, correction=0) + 1e-5).sqrt()):
            expected += 3.0 * ((statistic(drawn[layer], (2, 3)) - statistic(style[layer], (2, 3))) ** 2).mean()
    assert_close(model.loss(outputs), expected)


def test_with_colors_the_pixels_are_a_layer_and_channels_of_the_content():
    model = transfer()
    images = pictures(2, 3, 37, 53)

    maps = model.encode(images)

    assert_close(maps["pixels"], (images - 0.5) / 0.25)
    assert_close(maps["layers.2"][:, 5:], F.avg_pool2d(maps["pixels"], 2))
    assert set(transfer(colors=False).encode(images)) == {"layers.0", "layers.2"}


def test_features_that_round_sizes_up_have_colors_for_each_position():
    layers = {"content_layer": "blocks.1", "style_layers": ["stem"]}
    model = StyleTransfer(SHAPE, (0.0, 1.0), ResidualNet(SHAPE, 7, depth=8, width=2), **layers)

    outputs = model(pictures(1, 3, 37, 53), pictures(1, *SHAPE))

    assert outputs["target"].shape == (1, 4 + 3, 19, 27)
    assert outputs["pictures"].shape == (1, 3, 37, 53)


def test_strength_goes_from_the_content_to_the_style():
    model = transfer()
    images, styles = pictures(2, *SHAPE), pictures(2, *SHAPE, seed=2)

    none, half, all_ = (model.stylize(images, styles, strength) for strength in (0.0, 0.5, 1.0))

    assert_close(none, model.decoder(model.encode(images)["layers.2"], SHAPE[1:]))
    assert_close(all_, model(images, styles)["pictures"])
    assert not half.equal(none)
    assert not half.equal(all_)
    assert_close(model.stylize(images, images, 1.0), none)


def test_what_is_exported_draws_pictures_only():
    model = transfer()
    images, styles = pictures(2, *SHAPE), pictures(2, *SHAPE, seed=2)

    module, inputs = model.exported({"images": images, "styles": styles, "new_kinds": torch.zeros(2)})

    assert_close(module(**inputs), model(images, styles)["pictures"])


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_images_of_one_color_give_a_finite_loss_and_gradients(level):
    model = transfer()
    constant = torch.full((1, *SHAPE), level)

    for images, styles in ((constant, pictures(1, *SHAPE)), (pictures(1, *SHAPE), constant), (constant, constant)):
        model.zero_grad()
        loss = model.loss(model(images, styles))
        loss.backward()
        assert loss.isfinite()
        assert all(parameter.grad.isfinite().all() for parameter in model.decoder.parameters())


def test_the_decoder_learns_one_batch_and_the_features_stay():
    torch.manual_seed(0)
    model = transfer()
    images, styles = pictures(2, *SHAPE), pictures(2, *SHAPE, seed=2)
    before = {name: tensor.clone() for name, tensor in model.features.state_dict().items()}
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], 1e-2)
    losses = []

    for _ in range(40):
        model.train()
        losses.append(model.loss(model(images, styles)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()

    assert losses[-1] < losses[0] / 2
    assert_close(dict(model.features.state_dict()), before, rtol=0, atol=0)
    assert {name.partition(".")[0] for name, each in model.named_parameters() if each.requires_grad} == {"decoder"}


def test_a_saved_model_draws_the_same():
    model, other = transfer(), transfer()
    for parameter in other.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    images, styles = pictures(2, *SHAPE), pictures(2, *SHAPE, seed=2)

    other.load_state_dict(model.state_dict())

    assert_close(other(images, styles)["pictures"], model(images, styles)["pictures"], rtol=0, atol=0)


def test_the_decoder_enlarges_as_often_as_the_features_reduce():
    features = CNN(SHAPE, 7, layers=[{"conv": 4}, {"pool": 2}, {"conv": 5}, {"pool": 2}])

    model = StyleTransfer(SHAPE, (0.0, 1.0), features, content_layer="layers.3", style_layers=["layers.0"], width=6)

    assert [block[0].out_channels for block in model.decoder.blocks] == [24, 12, 6]
    assert model(pictures(1, *SHAPE), pictures(1, *SHAPE))["target"].shape == (1, 8, 3, 2)


def test_the_decoder_copies_pixels_to_enlarge():
    decoder = Decoder(2, 3, 1, 4)
    maps = torch.ones(1, 2, 3, 5)

    drawn = decoder(maps, (6, 9))

    assert drawn.shape == (1, 3, 6, 9)
    assert_close(drawn, drawn[:, :, :1, :1].expand_as(drawn))  # borders are repeated, so one color stays one color


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content_layer": "layers.5"}, 'content_layer, style_layers: CNN has no layer "layers.5"'),
        (
            {"style_layers": ["layers.0", "layers.0"]},
            'style_layers = ["layers.0", "layers.0"]: "layers.0" occurs twice; name each once',
        ),
    ],
)
def test_wrong_layers_are_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        transfer(**options)


@pytest.mark.parametrize("convolution", [nn.Conv2d(3, 4, 3, stride=3), nn.Conv2d(3, 4, 3)])
def test_maps_of_a_size_that_no_enlargement_leads_back_from_are_refused(convolution):
    net = nn.Sequential(convolution)

    with pytest.raises(InputError, match=r"""content_layer: the maps of "0" have .* expected a half, a quarter"""):
        StyleTransfer((3, 16, 16), (0.0, 1.0), net, content_layer="0", style_layers=["0"])


def test_pixels_of_another_range_are_refused():
    with pytest.raises(InputError, match="the pixels of the data are from -1 to 1; expected 0 to 1"):
        StyleTransfer(SHAPE, (-1.0, 1.0), network(), content_layer="layers.0", style_layers=["layers.0"])
