"""Layers that compute their inner outputs again."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe.training.activation_checkpointing import checkpoint_activations


def net() -> nn.Module:
    torch.manual_seed(3)

    def block() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 40), nn.BatchNorm1d(40), nn.Dropout(0.5), nn.Tanh(), nn.Linear(40, 5))

    return nn.ModuleDict({"blocks": nn.Sequential(block(), block()), "output": nn.Linear(5, 2)})


def step(model: nn.Module) -> tuple[dict, int]:
    """Return the gradients and buffers after a backward pass, and the numbers kept for it."""
    torch.manual_seed(7)
    kept: dict[int, int] = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model["output"](model["blocks"](torch.randn(64, 5))).square().mean()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return gradients | dict(model.named_buffers()), sum(kept.values())


@pytest.mark.parametrize("pattern", ["blocks.?", "blocks*", "blocks"])
def test_gradients_and_buffers_are_the_same_bits_with_less_memory(pattern):
    plain, checkpointed = net(), net()
    checkpoint_activations(checkpointed, pattern)

    (expected, more), (found, less) = step(plain), step(checkpointed)

    assert_close(found, expected, rtol=0, atol=0)
    assert less < more / 2
    assert list(checkpointed.state_dict()) == list(plain.state_dict())


class Branching(nn.Linear):
    """A layer whose activation depends on values: there torch's compiler ends a graph."""

    def forward(self, inputs):
        outputs = super().forward(inputs)
        return outputs.tanh() if outputs.sum() > 0 else outputs.sigmoid()


def test_a_layer_that_torch_compiles_in_parts_has_the_same_gradients():
    plain = nn.Sequential(Branching(5, 3), nn.Linear(3, 2))
    compiled = copy.deepcopy(plain)
    checkpoint_activations(compiled, "0")
    compiled.compile(backend=lambda graph, inputs: graph)
    inputs = torch.randn(7, 5)

    for model in (plain, compiled):
        model(inputs).square().mean().backward()

    assert_close([each.grad for each in compiled.parameters()], [each.grad for each in plain.parameters()])


def test_a_copy_computes_with_its_own_weights():
    model = net()
    checkpoint_activations(model, "blocks.*")
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data.zero_()

    assert other["blocks"](torch.ones(3, 5)).abs().max() == 0
    assert model["blocks"](torch.ones(3, 5)).abs().max() > 0


def test_a_pattern_without_a_layer_is_refused():
    with pytest.raises(
        InputError,
        match=r'^activation_checkpointing = "block": ModuleDict has no such layer; expected .* its layers: blocks, blocks\.0',
    ):
        checkpoint_activations(net(), "block")
