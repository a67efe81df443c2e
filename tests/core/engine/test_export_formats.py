from __future__ import annotations

import inspect

import torch
from safetensors.torch import load_file
from torch import nn

from dlpipe.engine.export_formats import NamedOutputs, load_weights, write_weights


class Difference(nn.Module):
    """Takes two columns whose order matters."""

    def forward(self, left, right):
        return {"difference": left - right}


def test_inputs_are_taken_by_position_as_the_signature_says():
    model = NamedOutputs(Difference()).with_inputs(["right", "left"])
    left, right = torch.tensor([5.0]), torch.tensor([3.0])

    assert list(inspect.signature(model.forward).parameters) == ["right", "left"]
    assert model(right, left)["difference"] == model(right=right, left=left)["difference"] == 2
    assert model(right, left=left)["difference"] == 2


class Tied(nn.Module):
    """Two layers with one weight, whose rows are not one after the other in memory."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.one.weight = self.two.weight = nn.Parameter(torch.randn(3, 3).T)

    def forward(self, points):
        return self.two(self.one(points))


def test_a_weight_with_two_names_is_exported_under_both(tmp_path):
    model, points = Tied(), torch.randn(4, 3)

    write_weights(NamedOutputs(model), tmp_path / "model.safetensors")

    other = Tied()
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other(points), model(points))
    loaded = load_weights(NamedOutputs(Tied()), tmp_path / "model.safetensors")
    assert torch.equal(loaded({"points": points})["outputs"], model(points))
