"""What a state may consist of, and where two states differ."""

from __future__ import annotations

import enum
import io
from collections import Counter, OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
import torch

from dlpipe.runs.plain_state import difference, unsavable

Pair = namedtuple("Pair", "first second")


class Level(enum.IntEnum):
    LOW = 1


PLAIN = [1, 2.5, "a", True, None, 1j, b"x", [1], (1, "a"), {1, 2}, OrderedDict(a=1), Counter("ab"), torch.Size([2])]
PLAIN += [torch.ones(2), {"a": [{(1, 2): torch.float32}]}, torch.device("cpu")]
OTHERS = [Pair(1, 2), Level.LOW, np.float64(1), np.ones(2), defaultdict(int), frozenset({1}), print, object()]


@pytest.mark.parametrize("state", [*PLAIN, *OTHERS], ids=lambda state: type(state).__name__)
def test_what_is_accepted_is_what_torch_reads_without_running_code(state):
    file = io.BytesIO()
    try:
        torch.save(state, file)
        file.seek(0)
        torch.load(file, weights_only=True)
        read = True
    except Exception:
        read = False

    assert (unsavable(state) == "") == read


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"a": [1, {"b": Pair(1, 2)}]}, "['a'][1]['b'] is of type Pair"),
        ({"a": (lambda: 0,)}, "['a'][0] is of type function"),
        ({Level.LOW: 1}, " key <Level.LOW: 1> is of type Level"),
    ],
)
def test_the_place_of_what_cannot_be_saved_is_named(state, problem):
    assert unsavable(state) == problem


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        ({"a": torch.tensor([1.0, torch.nan])}, {"a": torch.tensor([1.0, torch.nan])}, ""),
        ({"a": [1, 2]}, {"a": (1, 2)}, ""),
        ({"a": [1, 2]}, {"a": [1, 3]}, "['a'][1]"),
        ({"a": [1, 2]}, {"a": [1]}, "['a']"),
        ({"a": 1}, {"a": 1, "b": 2}, "['b']"),
        ({"a": torch.ones(2)}, {"a": torch.ones(2, dtype=torch.float64)}, "['a']"),
        ({"a": torch.ones(2)}, {"a": torch.ones(1, 2)}, "['a']"),
        (1, 2, " "),
    ],
)
def test_where_two_states_differ_is_named(one, other, place):
    assert difference(one, other) == place
