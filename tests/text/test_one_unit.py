from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_text.impulse import Impulse
from dlpipe_text.one_unit import OneUnit

LONG = Impulse(length=1000).split("train").columns["features"].double()


#: The lecture says "1.01^1000 is about 20,000 and 0.99^1000 about 0", of 999 multiplications.
@pytest.mark.parametrize(
    ("weight", "power", "slope"), [(0.99, 4.36e-5, 0.0440), (1.0, 1.0, 999.0), (1.01, 20_751.6, 2.053e7)]
)
def test_a_linear_unit_computes_a_power_of_its_weight(weight, power, slope):
    model = OneUnit(1, weight=weight, learn_bias=False).double()
    nn.init.constant_(model.weight, weight)  # 1.01 is not exact in single precision

    output = model(LONG)
    output.sum().backward()

    assert float(output.detach()) == pytest.approx(weight**999)
    assert float(output.detach()) == pytest.approx(power, rel=1e-3)
    assert float(model.weight.grad) == pytest.approx(999 * weight**998)
    assert float(model.weight.grad) == pytest.approx(slope, rel=1e-3)


def test_a_sigmoid_unit_by_hand():
    def f(x):
        return 1 / (1 + math.exp(-x))

    model = OneUnit(1, activation="sigmoid", weight=3.0, bias=-1.0)

    output = model(torch.tensor([[[0.5], [0.2], [0.0]]]))

    second = 3 * f(0.5) - 1 + 0.2
    assert_close(output, torch.tensor([f(3 * f(second) - 1)]))


def test_it_keeps_the_weights_of_the_first_training_steps_only():
    model = OneUnit(1, weight=2.0, bias=1.0, path_length=2)
    outputs, targets = model(torch.ones(1, 3, 1)), torch.ones(1)

    model.loss(outputs, targets, None)
    assert model.path.isnan().all()
    for step in range(3):
        model.loss(outputs, targets, step)
        with torch.no_grad():
            model.weight += 1

    assert model.path.tolist() == [[2.0, 1.0], [3.0, 1.0]]


def weights_of(model):
    return torch.stack([model.weight, model.bias]).detach()


def test_the_start_is_random_if_asked_for():
    torch.manual_seed(0)
    starts = torch.stack([weights_of(OneUnit(1, weight=5.0, init_std=0.2)) for _ in range(400)])

    assert_close(starts.mean(0), torch.tensor([5.0, 0.0]), atol=0.04, rtol=0)
    assert_close(starts.std(0), torch.tensor([0.2, 0.2]), atol=0.03, rtol=0)
    assert weights_of(OneUnit(1, weight=5.0)).tolist() == [5.0, 0.0]


def test_data_with_more_features_is_refused():
    with pytest.raises(
        InputError, match="num_features = 2: this network has one unit and one input; use data with one"
    ):
        OneUnit(2)
