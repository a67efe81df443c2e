from __future__ import annotations

import inspect

import torch
from torch import nn

from dlpipe.engine.export_formats import NamedOutputs


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
