"""Optimizers without torch's compiler: the same numbers, and no import of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.optim.optimizer import (
    _use_grad_for_differentiable,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from dlpipe.config.torch_names import OPTIMIZERS
from dlpipe.registry.targets import load_target
from dlpipe.training.eager_optimizers import METHODS, eager
from dlpipe.training.optimizers import build_optimizer


def trained(kind, steps=5, **options):
    """Return the weights after some steps and the state of the optimizer, loaded into a second one on the way."""
    torch.manual_seed(0)
    model, inputs = nn.Linear(3, 2), torch.randn(8, 3)
    if issubclass(kind, torch.optim.SparseAdam):
        model, inputs = nn.Embedding(9, 2, sparse=True), torch.arange(8)
    parameters = [each for each in model.parameters() if each.dim() == 2]
    optimizer = kind(parameters, lr=0.1, **options)
    for step in range(steps):

        def closure(optimizer=optimizer):
            optimizer.zero_grad()
            loss = model(inputs).square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        if step == 2:
            state = optimizer.state_dict()
            optimizer = kind(parameters, lr=0.3, **options)
            optimizer.load_state_dict(state)
    return [each.detach() for each in parameters], optimizer.state_dict()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_numbers_are_those_of_torch(name):
    kind = load_target(OPTIMIZERS[name])

    (weights, state), (expected, expected_state) = trained(eager(kind)), trained(kind)

    assert all(torch.equal(one, other) for one, other in zip(weights, expected, strict=True))
    torch.testing.assert_close(state, expected_state, rtol=0, atol=0)
    assert eager(kind).__name__ == kind.__name__


@pytest.mark.parametrize("differentiable", [False, True])
def test_gradients_of_a_step_are_computed_where_that_is_asked_for(differentiable):
    seen = []

    class Recording(torch.optim.SGD):
        @_use_grad_for_differentiable
        def step(self, closure=None):
            seen.append(torch.is_grad_enabled())

    eager(Recording)([nn.Parameter(torch.ones(1))], differentiable=differentiable).step()

    assert seen == [differentiable]
    assert torch.is_grad_enabled()


def small_optimizer():
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    return build_optimizer([weight], {"use": "sgd", "lr": 0.25}), weight


def test_a_profiler_sees_the_steps():
    optimizer, _ = small_optimizer()

    with torch.profiler.profile() as profiler:
        optimizer.step()

    assert "Optimizer.step#SGD.step" in [event.key for event in profiler.key_averages()]


def test_nothing_is_announced_where_nothing_profiles(monkeypatch):
    optimizer, weight = small_optimizer()
    monkeypatch.setattr(torch.autograd.profiler, "record_function", None)

    optimizer.step()

    assert weight.item() == 0.75


@pytest.mark.parametrize(
    "register",
    [
        lambda optimizer, hook: optimizer.register_step_pre_hook(hook),
        lambda optimizer, hook: optimizer.register_step_post_hook(hook),
        lambda optimizer, hook: register_optimizer_step_pre_hook(hook),
        lambda optimizer, hook: register_optimizer_step_post_hook(hook),
    ],
)
def test_hooks_are_called(register):
    optimizer, weight = small_optimizer()
    calls = []
    handle = register(optimizer, lambda *arguments: calls.append(arguments[0]))

    optimizer.step()
    handle.remove()
    optimizer.step()

    assert calls == [optimizer]
    assert weight.item() == 0.5


def test_what_another_version_wraps_otherwise_stays():
    class Other(torch.optim.SGD):
        def step(self, closure=None):
            return "own"

    assert eager(Other)([nn.Parameter(torch.ones(1))]).step() == "own"


def test_a_kind_that_was_used_before_is_recognized():
    used = torch.optim.Rprop([nn.Parameter(torch.ones(1))])  # wraps the step of its class once more

    assert eager(type(used)).step.__name__ == "step"
    assert "step" in vars(eager(type(used)))
    assert all(name in vars(eager(type(used))) for name in METHODS)


def test_training_imports_no_compiler():
    program = """
import sys, torch
from dlpipe.training.optimizers import build_optimizer
for use in ("sgd", "adam", "adamw", "rmsprop", "lbfgs"):
    layer = torch.nn.Linear(2, 1)
    optimizer = build_optimizer(layer.parameters(), {"use": use, "lr": 0.1}, closure=True)
    optimizer.zero_grad()
    layer(torch.ones(3, 2)).sum().backward()
    optimizer.step(lambda: torch.zeros(()))
    optimizer.load_state_dict(optimizer.state_dict())
print([name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor"))])
"""

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_optimizers_of_torch_are_built_without_the_compiler():
    optimizer = build_optimizer([nn.Parameter(torch.ones(1))], {"use": "sgd", "lr": 0.1})

    assert type(optimizer) is eager(torch.optim.SGD)
