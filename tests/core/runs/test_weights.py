"""Weights come back as they were saved, whatever tensors share; what cannot is named."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from dlpipe.runs.weights import load_weights_file, save_weights, unsavable_weights


class Net(nn.Module):
    """A parameter of 3 x 5, and what a test adds."""

    def __init__(self, **buffers):
        super().__init__()
        self.score = nn.Parameter(torch.randn(3, 5))
        for name, of in buffers.items():
            self.register_buffer(name, of(self.score.detach()))


def views_of_one_vector():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5))
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(net.parameters()).detach(), net.parameters())
    return net


def tied():
    net = nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 2)})
    net["second"].weight = net["first"].weight
    return net


class Counting(Net):
    """Saves a tensor as its extra state."""

    seen = torch.tensor(7)

    def get_extra_state(self):
        return self.seen

    def set_extra_state(self, state):
        self.seen = state


SHARING = {
    "views of one vector": views_of_one_vector,
    "tied weights": tied,
    "a part of another tensor": lambda: Net(part=lambda score: score[:2]),
    "overlapping parts": lambda: Net(first=lambda score: score[:2], last=lambda score: score[1:]),
    "the transpose of another tensor": lambda: Net(turned=torch.t),
    "not contiguous": lambda: Net(columns=lambda score: score.clone()[:, ::2]),
    "an empty tensor": lambda: Net(none=lambda score: score.new_zeros(0), nothing=lambda score: score.new_zeros(0, 2)),
    "a tensor as extra state": Counting,
    "no weights at all": nn.Identity,
}


@pytest.mark.parametrize("case", SHARING)
def test_weights_come_back(tmp_path, case):
    saved, fresh = SHARING[case](), SHARING[case]()

    assert unsavable_weights(saved) == ""
    save_weights(saved, tmp_path / "weights")
    load_weights_file(tmp_path / "weights", fresh)

    assert saved.state_dict().keys() == fresh.state_dict().keys()
    for name, value in saved.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name


def test_weights_that_became_views_are_loaded_into_weights_that_are_not(tmp_path):
    saved, fresh = views_of_one_vector(), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5))

    save_weights(saved, tmp_path / "weights")
    load_weights_file(tmp_path / "weights", fresh)
    load_weights_file(tmp_path / "weights", saved)

    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), fresh.parameters(), strict=True))


def test_tied_weights_are_saved_once(tmp_path):
    save_weights(tied(), tmp_path / "weights")

    assert (tmp_path / "weights").read_bytes().count(b'"second.weight":{') == 0


def test_weights_of_another_model_are_refused(tmp_path):
    save_weights(nn.Linear(2, 3), tmp_path / "weights")

    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"score\""):
        load_weights_file(tmp_path / "weights", Net())


class Remembering(Net):
    def get_extra_state(self):
        return {"seen": 7}


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (Remembering, r"'_extra_state' is of type dict \(get_extra_state\(\)\); expected tensors: use register_buffer"),
        (lambda: nn.LazyLinear(2), "'weight' has no size before the first step; expected sizes from the constructor"),
        (
            lambda: Net(edges=lambda score: torch.eye(3).to_sparse()),
            "'edges' has the layout torch.sparse_coo; expected a",
        ),
        (
            lambda: Net(row=lambda score: score[:1].expand(7, 5)),
            r"'row' repeats the same numbers in memory \(expand\(\)\)",
        ),
    ],
)
def test_what_cannot_be_saved_is_named(model, problem):
    assert re.match(problem, unsavable_weights(model()))
