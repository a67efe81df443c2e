"""A stack of layers computes what `nn.Sequential` does, and calls every hook."""

import pytest
import torch
from torch import nn
from torch.nn.modules import module
from torch.nn.utils.parametrizations import weight_norm

from dlpipe_rl.layer_stack import LayerStack


def layers():
    torch.manual_seed(0)
    return nn.Linear(3, 4), nn.ReLU(), weight_norm(nn.Linear(4, 2))


def test_a_stack_computes_what_a_sequence_of_the_same_layers_does():
    obs = torch.randn(5, 3, requires_grad=True)
    stacked, sequential = LayerStack(*layers()), nn.Sequential(*layers())

    stacked(obs).sum().backward()
    of_stack, obs.grad = obs.grad, None
    sequential(obs).sum().backward()

    assert stacked(obs).equal(sequential(obs))
    assert of_stack.equal(obs.grad)
    assert list(stacked.state_dict()) == list(sequential.state_dict())


HOOKS = {
    "forward": lambda layer, called: layer.register_forward_hook(lambda *_: called.append(1)),
    "before forward": lambda layer, called: layer.register_forward_pre_hook(lambda *_: called.append(1)),
    "backward": lambda layer, called: layer.register_full_backward_hook(lambda *_: called.append(1)),
    "before backward": lambda layer, called: layer.register_full_backward_pre_hook(lambda *_: called.append(1)),
    "forward of all modules": lambda _, called: module.register_module_forward_hook(lambda *_: called.append(1)),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_of_a_layer_are_called(hook):
    stack, called = LayerStack(*layers()), []
    handle = HOOKS[hook](stack[0], called)

    stack(torch.randn(5, 3, requires_grad=True)).sum().backward()
    handle.remove()
    while_registered = len(called)
    stack(torch.randn(5, 3, requires_grad=True)).sum().backward()

    assert while_registered >= 1
    assert len(called) == while_registered


def test_a_layer_that_was_compiled_runs_compiled():
    stack, called = LayerStack(*layers()), []
    stack[0].compile(backend=lambda graph, _: called.append(1) or graph.forward)

    stack(torch.randn(5, 3))

    assert called
