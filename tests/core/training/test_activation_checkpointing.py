"""Layers that compute their inner outputs again."""

import copy
from types import MethodType

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe.training.activation_checkpointing import checkpoint_activations, unchanged_buffers


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
    with unchanged_buffers([model]):
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


class Branching(nn.Module):
    """A layer whose activation depends on values: there torch's compiler ends a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5)
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, inputs):
        self.batches = self.batches + 1
        outputs = self.norm(inputs)
        return outputs.tanh() if outputs.sum() > 100 else outputs.sigmoid()


def test_a_layer_that_torch_compiles_in_parts_has_the_same_gradients_and_buffers():
    plain = nn.Sequential(Branching(), nn.Linear(5, 2))
    compiled = copy.deepcopy(plain)
    layers = checkpoint_activations(compiled, "0")
    compiled.compile(backend=lambda graph, inputs: graph)
    inputs = torch.randn(7, 5)

    plain(inputs).square().mean().backward()
    loss = compiled(inputs).square().mean()
    with unchanged_buffers(layers):
        loss.backward()

    assert_close([each.grad for each in compiled.parameters()], [each.grad for each in plain.parameters()])
    assert_close(dict(compiled.named_buffers()), dict(plain.named_buffers()))
    assert compiled[0].batches == 1


def test_buffers_are_as_before_also_after_an_error():
    norm = nn.BatchNorm1d(2)

    with pytest.raises(ValueError, match="more than 1 value"), unchanged_buffers([norm]):
        norm(norm(torch.randn(3, 2))[:1])

    assert norm.num_batches_tracked == 0
    assert norm.running_mean.tolist() == [0, 0]


def test_a_copy_computes_with_its_own_weights():
    model = net()
    checkpoint_activations(model, "blocks.*")
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data.zero_()

    assert other["blocks"](torch.ones(3, 5)).abs().max() == 0
    assert model["blocks"](torch.ones(3, 5)).abs().max() > 0


def test_a_forward_that_a_layer_got_before_is_kept():
    def doubled(layer, inputs):
        return type(layer).forward(layer, inputs) * 2

    model = net()
    for layer in (model["blocks"], model["blocks"][0][0]):  # the layer itself, and one within it
        layer.forward = MethodType(doubled, layer)
    plain = copy.deepcopy(model).eval()
    checkpoint_activations(model, "blocks")
    other = copy.deepcopy(model).eval()

    assert_close(other["blocks"](torch.ones(3, 5)), plain["blocks"](torch.ones(3, 5)))
    other["blocks"][0][0].weight.data.zero_()
    assert_close(model.eval()["blocks"](torch.ones(3, 5)), plain["blocks"](torch.ones(3, 5)))


def test_a_pattern_without_a_layer_is_refused():
    with pytest.raises(
        InputError,
        match=r'^activation_checkpointing = "block": ModuleDict has no such layer; expected .* its layers: blocks, blocks\.0',
    ):
        checkpoint_activations(net(), "block")
