import copy
import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.data import Columns
from dlpipe.errors import InputError
from dlpipe.training.lsuv import LSUV

CPU = Compute(torch.device("cpu"))


class Inputs:
    """Examples of six numbers, of which the last is larger than the others."""

    splits = ("train",)

    def __init__(self, count=400, inputs=None):
        numbers = torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
        numbers[:, 5] *= 3
        self.inputs = numbers if inputs is None else inputs

    def split(self, name):
        return Columns({"inputs": self.inputs})


class Net(nn.Module):
    """Layers that are called one after the other."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs):
        return self.layers(inputs)


def net(activation, depth=12, width=50):
    torch.manual_seed(1)
    layers = []
    for inputs in [6, *[width] * (depth - 1)]:
        layers += [nn.Linear(inputs, width), activation()]
    return Net(*layers)


def variances(model, inputs):
    """Return the variance of the outputs of each linear or convolutional layer."""
    found = []
    hooks = [
        layer.register_forward_hook(lambda _, __, outputs: found.append(outputs.var(correction=0).item()))
        for layer in model.modules()
        if hasattr(layer, "weight") and layer.weight.dim() > 1
    ]
    with torch.no_grad():
        model(inputs)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.GELU])
def test_the_outputs_of_all_layers_have_variance_one_also_for_other_examples(activation):
    model, data = net(activation), Inputs(4000)

    metrics = LSUV(model, data, CPU, 0, batch_size=2000).step()

    other = torch.randn(4000, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor([1, 1, 1, 1, 1, 3])
    assert variances(model, other) == [pytest.approx(1, abs=0.1)] * 12
    assert metrics["layers"] == 12
    assert metrics["variance_after_min"] == pytest.approx(1, abs=0.01)
    assert metrics["variance_after_max"] == pytest.approx(1, abs=0.01)
    assert all(layer.bias.eq(0).all() for layer in model.layers[::2])


def test_the_variances_before_are_those_of_the_weights_that_the_model_had():
    model, data = net(nn.ReLU), Inputs()
    before = variances(model, data.inputs)

    metrics = LSUV(model, data, CPU, 0, batch_size=400).step()

    assert metrics["variance_before_min"] == pytest.approx(min(before), rel=1e-4)
    assert metrics["variance_before_max"] == pytest.approx(max(before), rel=1e-4)
    assert metrics["variance_before_min"] < 0.05  # torch's own weights let the signal vanish


@pytest.mark.parametrize("layer", [nn.Linear(5, 8), nn.Linear(8, 5), nn.Linear(6, 6)])
def test_weights_are_in_proportion_to_orthonormal_ones(layer):
    inputs = torch.randn(300, layer.in_features, generator=torch.Generator().manual_seed(0))
    LSUV(Net(layer), Inputs(inputs=inputs), CPU, 0).step()

    weight = layer.weight.detach()
    product = weight @ weight.T if len(weight) <= weight.size(1) else weight.T @ weight
    assert_close(product / product[0, 0], torch.eye(len(product)), rtol=0, atol=1e-5)


def test_convolutions_are_initialized_and_other_layers_are_not():
    torch.manual_seed(1)
    model = Net(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.Dropout(0.9), nn.Flatten(), nn.Linear(24, 3))
    inputs = torch.randn(500, 2, 8, generator=torch.Generator().manual_seed(0)) * 7
    norm = copy.deepcopy(model.layers[1].state_dict())

    LSUV(model, Inputs(inputs=inputs), CPU, 0, batch_size=500).step()

    assert variances(model.eval(), inputs) == [pytest.approx(1, abs=0.01)] * 2  # without dropout
    assert_close(dict(model.layers[1].state_dict()), dict(norm))


class Twice(nn.Module):
    """A layer that is called twice, one that is declared before it but called after it, and one that is not called."""

    def __init__(self):
        super().__init__()
        self.last, self.unused, self.again = nn.Linear(6, 2), nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, inputs):
        return self.last(self.again(self.again(inputs)))


def test_layers_are_scaled_in_the_order_of_their_first_calls():
    torch.manual_seed(1)
    model, data = Twice(), Inputs()
    unused = copy.deepcopy(model.unused.state_dict())

    metrics = LSUV(model, data, CPU, 0, batch_size=400).step()

    assert metrics["layers"] == 2
    once, _, last = variances(model, data.inputs)
    assert [once, last] == [pytest.approx(1, abs=0.01)] * 2
    assert_close(dict(model.unused.state_dict()), dict(unused))


class Rooted(nn.Linear):
    """A layer whose outputs are in proportion to the square root of the size of its weights."""

    def forward(self, inputs):
        return super().forward(inputs) / self.weight.norm().sqrt()


def rooted(**options):
    torch.manual_seed(1)
    return LSUV(Net(Rooted(6, 3)), Inputs(), CPU, 0, batch_size=400, **options).step()["variance_after_max"]


def test_outputs_that_are_not_in_proportion_to_the_weights_take_several_divisions():
    # A division by the deviation takes the variance to its square root.
    assert rooted(max_iterations=12) == pytest.approx(1, abs=0.01)
    assert rooted(max_iterations=12, tolerance=1e-4) == pytest.approx(1, abs=1e-4)
    with pytest.warns(
        UserWarning, match=r"the outputs of .*layers\.0.* do not have a variance within 0.01 of 1 after 2"
    ):
        assert abs(rooted(max_iterations=2) - 1) > 0.01


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    def weights(seed):
        model = net(nn.ReLU, depth=3)
        LSUV(model, Inputs(), CPU, seed).step()
        return model.state_dict()["layers.2.weight"]

    assert weights(0).equal(weights(0))
    assert not weights(0).equal(weights(1))


def test_the_model_is_left_in_training_mode_and_without_hooks():
    model = net(nn.ReLU, depth=2)

    LSUV(model, Inputs(), CPU, 0).step()

    assert model.training
    assert not any(layer._forward_hooks for layer in model.modules())


def test_what_cannot_be_initialized_is_refused():
    with pytest.raises(InputError, match=r"and the model Net calls none; take another model, or leave this stage out"):
        LSUV(Net(nn.ReLU()), Inputs(), CPU, 0).step()
    message = "the outputs of the layer layers.0 have the variance 0.0 for 256 examples; expected outputs that differ."
    with pytest.raises(InputError, match=re.escape(message)):
        LSUV(Net(nn.Linear(6, 2)), Inputs(inputs=torch.zeros(300, 6)), CPU, 0).step()
