"""Which attributes of a trainer are compared, and which changes of them are seen."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from dlpipe.runs.plain_state import difference
from dlpipe.testing.attributes import plain_attributes


@dataclass
class Moments:
    values: list = field(default_factory=lambda: [1.0])


class Slots:
    __slots__ = ("one",)


class Holder:
    """Keeps something of each kind."""

    def __init__(self):
        self.number, self.name, self.nothing = 1, "a", None
        self.tensor, self.array = torch.zeros(2, 3), np.zeros(2)
        self.nested = {"a": [torch.zeros(2), (1, 2)], "b": deque([1, 2])}
        self.seen, self.moments = {"a", "b"}, Moments()
        self.python, self.numpy, self.torch = random.Random(1), np.random.default_rng(1), torch.Generator()
        self.model = nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.function, self.objects = print, [object()]


CHANGES = {
    "number": lambda held: setattr(held, "number", 2),
    "name": lambda held: setattr(held, "name", "b"),
    "nothing": lambda held: setattr(held, "nothing", 0),
    "tensor": lambda held: held.tensor.add_(1),
    "array": lambda held: held.array.__iadd__(1),
    "nested": lambda held: held.nested["b"].append(3),
    "seen": lambda held: held.seen.add("c"),
    "moments": lambda held: held.moments.values.append(2.0),
    "python": lambda held: held.python.random(),
    "numpy": lambda held: held.numpy.random(),
    "torch": lambda held: torch.rand((), generator=held.torch),
    "model": lambda held: held.model.weight.data.add_(1),
    "optimizer": lambda held: held.optimizer.param_groups[0].update(lr=0.2),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_place_is_seen(name):
    held = Holder()
    before = plain_attributes(held)

    CHANGES[name](held)

    after = plain_attributes(held)
    assert [each for each in before if difference(before[each], after[each])] == [name]


def test_what_cannot_be_compared_is_left_out():
    assert set(plain_attributes(Holder())) == set(CHANGES)
    assert plain_attributes(Slots()) == {}
