from typing import get_args

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe.layers import Activation, Maxout, SkipConnection
from dlpipe.models.mlp import MLP

SHAPE = (2, 3, 5)


def tiny_mlp(**options):
    torch.manual_seed(0)
    return MLP(image_shape=SHAPE, num_classes=4, **{"hidden": (7, 6), **options})


def tiny_batch():
    """Return images (8, 2, 3, 5) and targets (8,)."""
    random = torch.Generator().manual_seed(0)
    return torch.rand(8, *SHAPE, generator=random), torch.randint(4, (8,), generator=random)


def linears(model):
    return [layer for layer in model.layers if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_image_gets_one_logit_per_class(activation):
    images, _ = tiny_batch()

    assert tiny_mlp(activation=activation)(images).shape == (8, 4)


def test_the_defaults_accept_digits_of_8_by_8_pixels():
    assert MLP(image_shape=(1, 8, 8), num_classes=10)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_layers_have_the_given_widths():
    sizes = [tuple(layer.weight.shape) for layer in linears(tiny_mlp(activation="maxout", maxout_pieces=3))]

    assert sizes == [(21, 30), (18, 7), (4, 6)]


def test_layers_of_one_size_are_those_that_a_list_gives():
    equal = MLP(image_shape=(1, 6, 5), num_classes=4, hidden_dim=7, num_layers=3)

    assert [tuple(layer.weight.shape) for layer in linears(equal)] == [(7, 30), (7, 7), (7, 7), (4, 7)]


def test_the_score_of_an_image_does_not_depend_on_its_batch():
    model = tiny_mlp(dropout=0.5, input_dropout=0.2).eval()
    images, _ = tiny_batch()

    assert_close(model(images)[3:5], model(images[3:5]))


def test_permuting_pixels_and_weights_alike_leaves_the_scores_unchanged():
    model, shuffled = tiny_mlp(), tiny_mlp()
    images, _ = tiny_batch()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))

    linears(shuffled)[0].weight.data = linears(model)[0].weight.data[:, order]

    assert_close(shuffled(images.flatten(1)[:, order].view_as(images)), model(images))


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_it_computes_the_formula(activation):
    model = tiny_mlp(activation=activation)
    images, _ = tiny_batch()
    act = {"sigmoid": lambda z: 1 / (1 + (-z).exp()), "tanh": torch.tanh, "relu": lambda z: z.clamp(min=0)}[activation]
    first, second, last = linears(model)

    hidden = act(images.reshape(8, 30) @ first.weight.T + first.bias)
    hidden = act(hidden @ second.weight.T + second.bias)

    assert_close(model(images), hidden @ last.weight.T + last.bias)


def test_without_hidden_layers_it_is_logistic_regression():
    model = tiny_mlp(hidden=())
    images, targets = tiny_batch()
    (linear,) = linears(model)

    F.cross_entropy(model(images), targets).backward()

    errors = model(images).softmax(1) - F.one_hot(targets, 4)  # (B, K)
    assert_close(linear.weight.grad, errors.T @ images.flatten(1) / 8)
    assert_close(linear.bias.grad, errors.mean(0))


def test_a_maxout_unit_is_the_largest_of_its_own_pieces():
    model = tiny_mlp(hidden=(7,), activation="maxout", maxout_pieces=3)
    images, _ = tiny_batch()
    first, last = linears(model)

    pieces = images.flatten(1) @ first.weight.view(7, 3, 30).permute(1, 2, 0) + first.bias.view(7, 3).T[:, None]

    assert_close(model(images), pieces.max(0).values @ last.weight.T + last.bias)


def test_maxout_of_a_piece_and_zero_is_exactly_relu():
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 7, generator=random)

    pieces = torch.stack([scores, torch.zeros(5, 7)], dim=2).flatten(1)

    assert Maxout(2)(pieces).equal(scores.relu())


def test_a_maxout_network_with_pieces_w_and_zero_is_the_relu_network():
    relu, maxout = tiny_mlp(activation="relu"), tiny_mlp(activation="maxout", maxout_pieces=2)
    images, _ = tiny_batch()
    *hidden, last = zip(linears(relu), linears(maxout), strict=True)
    with torch.no_grad():
        for rectified, doubled in hidden:
            for weight, pieces in zip(rectified.parameters(), doubled.parameters(), strict=True):
                pieces.copy_(torch.stack([weight.normal_(), torch.zeros_like(weight)], dim=1).flatten(0, 1))
    last[1].load_state_dict(last[0].state_dict())

    assert_close(maxout(images), relu(images))


def test_dropout_follows_the_pixels_and_every_hidden_layer_but_not_the_logits():
    model = tiny_mlp(input_dropout=0.2, dropout=0.5)

    rates = [layer.p for layer in model.layers if isinstance(layer, nn.Dropout)]

    assert rates == [0.2, 0.5, 0.5]
    assert isinstance(model.layers[1], nn.Dropout)
    assert isinstance(model.layers[-1], nn.Linear)


def wide_mlp(**options):
    torch.manual_seed(0)
    return linears(MLP(image_shape=(1, 20, 30), num_classes=100, hidden=(400,), **options))[0]


def test_initial_weights_are_glorots_with_zero_biases():
    layer = wide_mlp()
    bound = (6 / (600 + 400)) ** 0.5

    assert 0.999 * bound < layer.weight.abs().max() <= bound
    assert_close(layer.weight.std(), torch.tensor(bound / 3**0.5), rtol=0.01, atol=0)
    assert not layer.bias.any()


def test_the_classifier_has_glorots_initial_weights_too():
    last = linears(tiny_mlp(hidden=()))[-1]

    assert not last.bias.any()
    assert last.weight.abs().max() > 30**-0.5  # torch's own bound


def test_every_piece_of_a_maxout_unit_is_initialized_like_a_layer_of_its_own():
    layer = wide_mlp(activation="maxout", maxout_pieces=3)
    bound = (6 / (600 + 400)) ** 0.5

    assert 0.999 * bound < layer.weight.abs().max() <= bound


def test_initial_weights_can_be_hes():
    layer = wide_mlp(init="he_normal")

    assert_close(layer.weight.std(), torch.tensor((2 / 600) ** 0.5), rtol=0.01, atol=0)
    assert layer.weight.abs().max() > 3 * (2 / 600) ** 0.5  # normal, not uniform
    assert not layer.bias.any()


def test_initial_weights_can_be_torchs_own():
    layer = wide_mlp(init="torch")
    torch.manual_seed(0)

    assert layer.weight.equal(nn.Linear(600, 400).weight)
    assert layer.bias.any()


@pytest.mark.parametrize("activation", [name for name in get_args(Activation) if name != "sigmoid"])
def test_one_batch_is_memorized(activation):
    model = tiny_mlp(activation=activation)
    images, targets = tiny_batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)

    for _ in range(100):
        loss = F.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss < 0.05


def test_weights_survive_saving_and_loading():
    model, other = tiny_mlp(activation="maxout").eval(), tiny_mlp(activation="maxout").eval()
    images, _ = tiny_batch()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)

    other.load_state_dict(load(save(model.state_dict())))

    assert other(images).equal(model(images))


def table_mlp(**options):
    torch.manual_seed(0)
    return MLP(**{"num_features": 3, "cardinalities": [4, 9], "num_classes": 5, "hidden": (7,), **options})


NUMBERS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
CATEGORIES = torch.tensor([[1, 2], [3, 8], [0, 1], [2, 2], [1, 7], [3, 4]])


def test_a_table_gets_one_logit_per_class_and_predictions_are_classes():
    model = table_mlp()
    logits = model(numbers=NUMBERS, categories=CATEGORIES)

    assert logits.shape == (6, 5)
    assert model.predict(logits).equal(logits.argmax(1))


@pytest.mark.parametrize(("num_targets", "shape"), [(1, (6,)), (2, (6, 2))])
def test_regression_gives_one_or_several_numbers_which_are_the_predictions(num_targets, shape):
    model = table_mlp(num_classes=0, num_targets=num_targets)
    outputs = model(numbers=NUMBERS, categories=CATEGORIES)

    assert outputs.shape == shape
    assert model.predict(outputs) is outputs


def test_without_hidden_layers_a_table_of_numbers_gives_linear_regression():
    model = MLP(num_features=3, num_targets=1, hidden=())
    (linear,) = linears(model)

    assert_close(model(numbers=NUMBERS), NUMBERS @ linear.weight[0] + linear.bias)


def test_each_column_of_categories_has_vectors_of_its_own_whose_sizes_follow_the_rule_of_fastai():
    model = table_mlp()

    # round(1.6 * 4 ** 0.56) and round(1.6 * 9 ** 0.56)
    assert [tuple(each.weight.shape) for each in model.embeddings] == [(4, 3), (9, 5)]
    assert linears(model)[0].in_features == 3 + 3 + 5
    assert [each.embedding_dim for each in table_mlp(embed_dim=2).embeddings] == [2, 2]


def test_an_unknown_category_contributes_nothing_and_is_not_trained():
    model = table_mlp()
    model(numbers=NUMBERS, categories=torch.zeros(6, 2, dtype=torch.long)).sum().backward()

    assert not model.embeddings[0](torch.tensor([0])).any()
    assert not model.embeddings[0].weight.grad.any()


def test_the_inputs_are_images_numbers_and_the_vectors_of_categories_in_this_order():
    model = table_mlp(image_shape=(1, 2, 2), hidden=())
    images = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    (linear,) = linears(model)

    vectors = [embed(column) for embed, column in zip(model.embeddings, CATEGORIES.T, strict=True)]

    expected = linear(torch.cat([images.flatten(1), NUMBERS, *vectors], dim=1))
    assert_close(model(images=images, numbers=NUMBERS, categories=CATEGORIES), expected)


@pytest.mark.parametrize(("norm", "layer"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm)])
def test_a_norm_comes_before_each_activation(norm, layer):
    kinds = [type(each) for each in table_mlp(norm=norm, hidden=(7, 6)).layers]

    assert kinds == [nn.Flatten, nn.Dropout, *[nn.Linear, layer, nn.ReLU, nn.Dropout] * 2, nn.Linear]


def test_data_without_sizes_is_refused():
    with pytest.raises(InputError, match="no inputs: the data provides none of the facts num_features, cardinalities"):
        MLP(num_classes=3)
    with pytest.raises(
        InputError, match="no outputs: the data provides neither of the facts num_classes and num_targets"
    ):
        MLP(num_features=3, num_classes=0)


def test_data_without_columns_that_it_takes_is_refused():
    with pytest.raises(
        InputError, match="core.mlp takes the columns numbers, categories and images, and the data has none"
    ):
        table_mlp()()


def connected_mlp(connection, **options):
    return tiny_mlp(**{"hidden": (7, 7, 6, 6), "connection": connection, **options}).eval()


@pytest.mark.parametrize("connection", ["residual", "highway"])
def test_the_hidden_layers_with_as_many_units_as_the_one_before_have_a_connection(connection):
    kinds = [type(each) for each in connected_mlp(connection).layers]

    dense = [nn.Linear, nn.ReLU, nn.Dropout]
    assert kinds == [nn.Flatten, nn.Dropout, *dense, SkipConnection, *dense, SkipConnection, nn.Linear]


def test_the_first_layer_has_no_connection_although_there_are_as_many_inputs():
    model = MLP(num_features=7, num_classes=4, hidden_dim=7, num_layers=3, connection="residual")

    assert [type(each) for each in model.layers].count(SkipConnection) == 2


def test_a_residual_layer_adds_its_input():
    model = connected_mlp("residual", hidden=(7, 7))
    images, _ = tiny_batch()
    first, last = linears(model)
    (second,) = [each for each in model.modules() if isinstance(each, nn.Linear) and each not in (first, last)]

    hidden = first(images.flatten(1)).relu()

    assert_close(model(images), last(hidden + second(hidden).relu()))


def test_a_highway_layer_mixes_its_input_and_its_output_by_the_gate():
    model = connected_mlp("highway", hidden=(7, 7), gate_bias=-0.5)
    images, _ = tiny_batch()
    first, last = linears(model)
    second, gate = (each for each in model.modules() if isinstance(each, nn.Linear) and each not in (first, last))

    hidden = first(images.flatten(1)).relu()
    opened = 1 / (1 + (-(hidden @ gate.weight.T + gate.bias)).exp())

    assert (gate.bias == -0.5).all()
    assert_close(model(images), last(opened * second(hidden).relu() + (1 - opened) * hidden))


def test_a_hundred_highway_layers_pass_on_the_gradient_that_plain_ones_lose():
    images, targets = tiny_batch()
    gradients = []
    for connection in ("plain", "highway"):
        torch.manual_seed(0)
        options = {} if connection == "plain" else {"connection": connection, "gate_bias": -4.0}
        model = MLP(image_shape=SHAPE, num_classes=4, hidden_dim=50, num_layers=100, **options)
        F.cross_entropy(model(images), targets).backward()
        gradients.append(float(linears(model)[0].weight.grad.norm()))

    assert gradients[0] < 1e-9
    assert gradients[1] > 1e-3


def test_what_remains_without_a_layer_is_its_input():
    model = connected_mlp("highway")
    features = torch.rand(3, 7)

    assert list(model.bypasses()) == ["layers.5", "layers.9"]
    assert model.bypasses()["layers.5"](features).equal(features)
    assert tiny_mlp().bypasses() == {}


def test_a_connection_that_no_layer_can_have_is_refused():
    with pytest.raises(
        InputError,
        match=r'connection = "highway" has no effect with hidden layers of \[7, 6\] units: none has as many as the '
        "layer before it; use hidden_dim and num_layers for layers of one size, or remove connection",
    ):
        tiny_mlp(connection="highway")
