"""Activations are what their papers say."""

import math
from typing import get_args

import pytest
import torch
from torch.testing import assert_close

from dlpipe.layers import Activation, activation_layer

FORMULAS = {
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: max(x, 0.01 * x),
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + math.exp(-x)),
}


@pytest.mark.parametrize("name", [name for name in get_args(Activation) if name != "maxout"])
def test_an_activation_is_the_function_of_its_name(name):
    numbers = [-2.0, -0.3, 0.0, 0.7, 3.0]

    values = activation_layer(name, 2)(torch.tensor(numbers))

    assert_close(values, torch.tensor([FORMULAS[name](number) for number in numbers]))
