"""Worked examples of the lectures, reproduced with the networks and optimizers that pipelines use."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.models.mlp import MLP
from dlpipe.training.optimizers import build_optimizer
from dlpipe_vision.cnn import CNN

IMAGE = torch.tensor(
    [
        [1.0, 0, 0, 0, 0, 1],
        [0, 1, 0, 0, 1, 0],
        [0, 0, 1, 1, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [0, 1, 0, 0, 1, 0],
        [0, 0, 1, 0, 1, 0],
    ]
)
FILTERS = torch.tensor(
    [
        [[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]],
        [[-1, 1, -1], [-1, 1, -1], [-1, 1, -1]],
    ]
)
MAPS = [
    [[3.0, -1, -3, -1], [-3, 1, 0, -3], [-3, -3, 0, 1], [3, -2, -2, -1]],
    [[-1, -1, -1, -1], [-1, -1, -2, 1], [-1, -1, -2, 1], [-1, 0, -4, 3]],
]


@pytest.mark.parametrize(
    ("inputs", "outputs"), [([1.0, -1.0], [0.6177, 0.8291]), ([0.0, 0.0], [0.5118, 0.8544])], ids=["1,-1", "0,0"]
)
def test_the_network_of_three_sigmoid_layers_gives_the_numbers_of_the_slide(inputs, outputs):
    model = MLP(image_shape=(1, 1, 2), num_classes=2, hidden=(2, 2), activation="sigmoid")
    weights = [[[1.0, -2], [-1, 1]], [[2.0, -1], [-2, -1]], [[3.0, -1], [-1, 4]]]
    biases = [[1.0, 0], [0.0, 0], [-2.0, 2]]
    for layer, weight, bias in zip([m for m in model.layers if isinstance(m, nn.Linear)], weights, biases, strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)

    answer = model(torch.tensor(inputs).view(1, 1, 1, 2)).sigmoid()

    assert_close(answer, torch.tensor([outputs]), atol=5e-5, rtol=0)


def test_softmax_of_3_1_and_minus_3():
    model = MLP(image_shape=(1, 1, 3), num_classes=3, hidden=())
    model.layers[-1].weight.data = torch.eye(3)

    probabilities = model(torch.tensor([3.0, 1.0, -3.0]).view(1, 1, 1, 3)).softmax(1)

    assert [round(p, 2) for p in probabilities[0].tolist()] == [0.88, 0.12, 0.00]


def filters_of_the_slide(num_classes, *layers, channels=1, **options):
    """Return a network that is linear (Maxout units of one piece) and has the slide's filters."""
    conv = {"conv": 2, "padding": 0, **options}
    model = CNN((channels, 6, 6), num_classes, layers=[conv, *layers], activation="maxout", maxout_pieces=1)
    model.layers[0].conv.weight.data = FILTERS[:, None].repeat(1, channels, 1, 1)
    model.classifier.weight.data = torch.eye(num_classes)  # so that the logits are what was flattened
    return model


def test_two_filters_of_stride_1_give_the_two_maps_of_the_slide():
    maps = filters_of_the_slide(32)(IMAGE.view(1, 1, 6, 6)).view(2, 4, 4)

    assert maps.tolist() == MAPS


def test_the_first_filter_of_stride_2_gives_four_numbers():
    maps = filters_of_the_slide(8, stride=2)(IMAGE.view(1, 1, 6, 6)).view(2, 2, 2)

    assert maps[0].tolist() == [[3, -3], [-3, 0]]


def test_max_pooling_and_flattening_leave_eight_numbers():
    eight = filters_of_the_slide(8, {"pool": 2})(IMAGE.view(1, 1, 6, 6))

    assert eight.tolist() == [[3, 0, 3, 1, -1, 1, 0, 3]]


def test_filters_of_a_color_image_sum_over_the_channels():
    colors = torch.stack([IMAGE, IMAGE.T, IMAGE.flip(1)])
    grey = filters_of_the_slide(32)

    maps = filters_of_the_slide(32, channels=3)(colors[None])

    assert maps.equal(sum(grey(color.view(1, 1, 6, 6)) for color in colors))


def test_filters_are_not_flipped():
    corner = torch.zeros(1, 1, 6, 6)
    corner[..., 0, 0] = 1

    upper_left = filters_of_the_slide(32)(corner).view(2, 4, 4)[:, 0, 0]

    assert upper_left.equal(FILTERS[:, 0, 0])


def test_nine_shared_weights_do_what_a_dense_layer_does_with_576():
    conv = filters_of_the_slide(32).layers[0].conv
    dense = nn.Linear(36, 16, bias=False)
    tied = torch.zeros(4, 4, 6, 6)
    for row, column in itertools.product(range(4), repeat=2):
        tied[row, column, row : row + 3, column : column + 3] = conv.weight[0, 0].detach()
    dense.weight.data = tied.view(16, 36)

    assert dense(IMAGE.flatten()).view(4, 4).tolist() == MAPS[0]
    assert (conv.weight[0].numel(), dense.weight.numel()) == (9, 576)
    assert ((dense.weight != 0).sum(1) == 9).all()


def linear_net(dropout):
    """Return a network without non-linearity: ten pixels, dropped out, and a hidden layer of four."""
    torch.manual_seed(0)
    model = MLP(
        image_shape=(1, 2, 5), num_classes=3, hidden=(4,), activation="maxout", maxout_pieces=1, input_dropout=dropout
    )
    return model.double()


def test_scaling_weights_at_test_time_is_equivalent_to_scaling_in_training():
    images = torch.rand(6, 1, 2, 5, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    model, slide = linear_net(0.3), linear_net(0.3)
    mask = torch.tensor([1, 0, 1, 1, 0, 1, 1, 0, 1, 1], dtype=torch.double)
    # The slide's network drops without scaling: its weights are 1 / (1 - p) times ours.
    slide.layers[2].weight.data /= 1 - 0.3
    dropped = (images.flatten(1) * mask).view_as(images)

    slide_in_training, ours_in_training = slide.eval()(dropped), model.eval()(dropped / (1 - 0.3))
    slide.layers[2].weight.data *= 1 - 0.3

    assert_close(slide_in_training, ours_in_training)
    assert_close(slide(images), model(images))


def test_dropout_in_training_scales_the_remaining_values():
    model = MLP(image_shape=(1, 2, 5), num_classes=10, hidden=(), input_dropout=0.3)
    model.layers[-1].weight.data = torch.eye(10)
    torch.manual_seed(0)

    kept = model(torch.ones(50, 1, 2, 5)).unique()

    assert_close(kept, torch.tensor([0, 1 / 0.7]))


def test_the_mean_over_all_masks_of_a_linear_network_is_the_network_with_scaled_weights():
    model, p = linear_net(0.3).eval(), 0.3
    images = torch.rand(1, 2, 5, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=10)), dtype=torch.double)  # (1024, 10)
    share = (1 - p) ** masks.sum(1) * p ** (10 - masks.sum(1))
    scaled = linear_net(0.3).eval()
    scaled.layers[2].weight.data *= 1 - p

    mean = share @ model(images * masks.view(-1, 1, 2, 5))

    assert_close(mean, scaled(images[None])[0], rtol=1e-12, atol=1e-12)


GRADIENTS = [0.5, -2.0, 1.5, 0.25]


def momentum(w, gradients, lr=0.1, mu=0.9):
    v = 0.0
    for g in gradients:
        v = mu * v + g
        w -= lr * v
    return w


def adagrad(w, gradients, lr=0.1, eps=1e-10):
    total = 0.0
    for g in gradients:
        total += g * g
        w -= lr * g / (math.sqrt(total) + eps)
    return w


def rmsprop(w, gradients, lr=0.1, alpha=0.9, eps=1e-8):
    mean = 0.0
    for g in gradients:
        mean = alpha * mean + (1 - alpha) * g * g
        w -= lr * g / (math.sqrt(mean) + eps)
    return w


def adam(w, gradients, lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8):
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        w -= lr * m / (1 - beta1**t) / (math.sqrt(v / (1 - beta2**t)) + eps)
    return w


def decay(w, gradients, lr=0.1):
    for g in gradients:
        w = 0.99 * (w - lr * g)
    return w


def stepped(table, gradients, w=0.7):
    """Return the weight `w` after steps of the optimizer that the table asks for."""
    weight = nn.Parameter(torch.tensor([w], dtype=torch.double))
    optimizer = build_optimizer([weight], table)
    for g in gradients:
        weight.grad = torch.tensor([g], dtype=torch.double)
        optimizer.step()
    return weight.item()


@pytest.mark.parametrize(
    ("by_hand", "table"),
    [
        (momentum, {"use": "sgd", "lr": 0.1, "momentum": 0.9}),
        (adagrad, {"use": "adagrad", "lr": 0.1}),
        (rmsprop, {"use": "rmsprop", "lr": 0.1, "alpha": 0.9}),
        (adam, {"use": "adam", "lr": 0.1}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_optimizer_makes_the_updates_of_the_slides(by_hand, table):
    for steps in range(1, 5):
        assert stepped(table, GRADIENTS[:steps]) == pytest.approx(by_hand(0.7, GRADIENTS[:steps]), abs=1e-7)


def test_weight_decay_of_the_slide_is_sgd_with_a_smaller_rate_and_a_weight_decay():
    # w <- 0.99 (w - eta g)  is  w <- w - lr (g + weight_decay w)  with lr = 0.99 eta and
    # lr * weight_decay = 0.01: a weight decay of 0.1 at the lecture's rate of 0.1, which is much.
    lr = 0.99 * 0.1
    table = {"use": "sgd", "lr": lr, "weight_decay": 0.01 / lr}

    assert stepped(table, GRADIENTS) == pytest.approx(decay(0.7, GRADIENTS), abs=1e-12)


def test_mean_squared_error_of_keras_is_a_tenth_of_the_sum_over_ten_classes():
    random = torch.Generator().manual_seed(0)
    outputs, targets = torch.rand(7, 10, generator=random), torch.eye(10)[:7]

    assert_close(F.mse_loss(outputs, targets), ((outputs - targets) ** 2).sum(1).mean() / 10)
