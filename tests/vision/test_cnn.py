from typing import get_args

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.layers import Activation
from dlpipe_vision.cnn import CNN

SHAPE = (2, 6, 7)
LAYERS = ({"conv": 5, "norm": True}, {"pool": 2}, {"conv": 4, "kernel": 2}, {"dense": 8, "norm": True})


def tiny_cnn(*layers, **options):
    torch.manual_seed(0)
    return CNN(SHAPE, 3, layers=layers or LAYERS, **options)


def tiny_batch():
    """Return images (8, 2, 6, 7) and targets (8,)."""
    random = torch.Generator().manual_seed(0)
    return torch.rand(8, *SHAPE, generator=random), torch.randint(3, (8,), generator=random)


@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_image_gets_one_logit_per_class(activation):
    images, _ = tiny_batch()

    assert tiny_cnn(activation=activation)(images).shape == (8, 3)


@pytest.mark.parametrize("size", [8, 28])
def test_the_defaults_accept_small_and_large_digits(size):
    assert CNN((1, size, size), 10)(torch.zeros(2, 1, size, size)).shape == (2, 10)


def test_the_default_is_the_network_of_the_keras_example():
    model = CNN((1, 28, 28), 10)

    assert sum(parameter.numel() for parameter in model.parameters()) == 1_199_882


def test_without_layers_it_is_logistic_regression():
    model = CNN(SHAPE, 3, layers=())
    images, _ = tiny_batch()

    assert_close(model(images), images.flatten(1) @ model.classifier.weight.T + model.classifier.bias)


@pytest.mark.parametrize(
    ("layers", "shapes"),
    [
        ([{"conv": 5}, {"pool": 2}], ["5×6×7", "5×3×3"]),
        ([{"conv": 5, "kernel": 2}, {"average_pool": 3}], ["5×7×8", "5×2×2"]),
        ([{"conv": 5, "kernel": 5, "stride": 2, "padding": 1}], ["5×2×3"]),
        ([{"conv": 5, "padding": 0}, {"global_pool": "max"}, {"dropout": 0.5}], ["5×4×5", "5×1×1", "5×1×1"]),
        ([{"dense": 9}, {"dropout": 0.5}, {"dense": 4}], ["9", "9", "4"]),
    ],
)
def test_the_layout_gives_the_output_shape_of_every_layer(layers, shapes):
    model = tiny_cnn(*layers)
    images, _ = tiny_batch()

    assert [line.rpartition(" ")[2] for line in model.layout.splitlines()] == ["2×6×7", *shapes, "3"]
    assert model(images).shape == (8, 3)


def test_global_pooling_is_invariant_to_shifts():
    model = tiny_cnn({"conv": 5}, {"global_pool": "max"})
    picture = torch.zeros(1, 2, 6, 7)
    picture[..., 1:3, 1:4] = torch.rand(2, 2, 3)

    moved = picture.roll((2, 1), dims=(2, 3))

    assert_close(model(moved), model(picture))


def test_the_score_of_an_image_does_not_depend_on_its_batch():
    model = tiny_cnn(*LAYERS, {"dropout": 0.5}).eval()
    images, _ = tiny_batch()

    assert_close(model(images)[3:5], model(images[3:5]))


def test_it_computes_the_formula():
    model = tiny_cnn({"conv": 5, "kernel": 2, "stride": 2, "padding": 1}, {"average_pool": 2}, activation="tanh")
    images, _ = tiny_batch()
    conv, classify = model.layers[0].conv, model.classifier

    padded = torch.zeros(8, 2, 8, 9)
    padded[:, :, 1:7, 1:8] = images
    maps = torch.empty(8, 5, 4, 4)
    for row in range(4):
        for column in range(4):
            window = padded[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            maps[:, :, row, column] = torch.einsum("bchw,ochw->bo", window, conv.weight) + conv.bias
    pooled = maps.tanh().view(8, 5, 2, 2, 2, 2).mean((3, 5))

    assert_close(model(images), pooled.flatten(1) @ classify.weight.T + classify.bias)


@pytest.mark.parametrize(("reduction", "reduce"), [("average", torch.mean), ("max", torch.amax)])
def test_global_pooling_returns_one_number_per_channel(reduction, reduce):
    model = tiny_cnn({"global_pool": reduction})
    images, _ = tiny_batch()

    assert_close(model(images), model.classifier(reduce(images, dim=(2, 3))))


def test_the_global_maximum_passes_its_gradient_to_one_of_equal_values_with_deterministic_operators():
    images = torch.randint(3, (5, 2, 3, 4)).float()
    ours, of_torch = (images.clone().requires_grad_() for _ in range(2))
    pool, weights = tiny_cnn({"global_pool": "max"}).layers, torch.randn(5, 2, 1, 1)

    with torch.profiler.profile() as profile:
        (pool(ours) * weights).sum().backward()
    (nn.AdaptiveMaxPool2d(1)(of_torch) * weights).sum().backward()

    assert torch.equal(ours.grad, of_torch.grad)
    assert not [event.key for event in profile.key_averages() if "adaptive_max_pool2d" in event.key]


def test_a_norm_comes_before_the_activation_and_replaces_the_bias():
    model = tiny_cnn({"conv": 5, "norm": True}, {"dense": 8, "norm": True})

    types = [[type(part) for part in layer] for layer in model.layers]

    assert types == [[nn.Conv2d, nn.BatchNorm2d, nn.ReLU], [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU]]
    assert model.layers[0].conv.bias is None
    assert model.layers[1].dense.bias is None


def test_layers_have_the_numbers_that_the_file_gives_them():
    names = {name.rpartition(".")[0] for name, _ in tiny_cnn(*LAYERS).named_parameters()}

    assert names == {"layers.0.conv", "layers.0.norm", "layers.2.conv", "layers.3.dense", "layers.3.norm", "classifier"}


def test_a_maxout_channel_is_the_largest_of_its_own_pieces():
    model = tiny_cnn({"conv": 5}, {"global_pool": "average"}, activation="maxout", maxout_pieces=3)
    images, _ = tiny_batch()
    conv, classify = model.layers[0].conv, model.classifier

    pieces = F.conv2d(images, conv.weight, conv.bias, padding=1).view(8, 5, 3, 6, 7)

    assert_close(model(images), classify(pieces.max(2).values.mean((2, 3))))


def test_fan_in_and_fan_out_of_a_convolution_include_the_kernel_size():
    torch.manual_seed(0)
    conv = CNN((40, 6, 6), 3, layers=[{"conv": 60}], activation="maxout").layers[0].conv
    bound = (6 / (9 * 40 + 9 * 60)) ** 0.5

    assert 0.999 * bound < conv.weight.abs().max() <= bound
    assert not conv.bias.any()


def test_the_classifier_is_initialized_with_zero_biases():
    assert not tiny_cnn().classifier.bias.any()


def test_dropout_has_the_given_probability():
    model = tiny_cnn({"dropout": 0.25}, {"dense": 4}, {"dropout": 0.125})

    assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [0.25, 0.125]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolutions_return_channels_last_tensors(channels, dtype):
    model, seen = CNN((channels, 6, 7), 3, layers=[{"conv": 5}, {"conv": 4}]), []
    model.layers[1].conv.register_forward_hook(lambda module, inputs, output: seen.append((*inputs, output)))

    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        model(torch.zeros(2, channels, 6, 7))

    assert all(maps.is_contiguous(memory_format=torch.channels_last) for maps in seen[0])


@pytest.mark.parametrize("activation", [name for name in get_args(Activation) if name != "sigmoid"])
def test_one_batch_is_memorized(activation):
    model = tiny_cnn(activation=activation)
    images, targets = tiny_batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)

    for _ in range(60):
        loss = F.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss < 0.05


def test_weights_survive_saving_and_loading(tmp_path):
    model, other = tiny_cnn(), tiny_cnn().eval()
    images, _ = tiny_batch()
    model(images)  # moves the running means of the norms
    for parameter in other.parameters():
        nn.init.zeros_(parameter)

    save_model(model, str(tmp_path / "weights.safetensors"))
    load_model(other, str(tmp_path / "weights.safetensors"))

    assert other(images).equal(model.eval()(images))
