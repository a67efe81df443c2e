"""Optimizers of torch that do not import torch's compiler, which takes longer than all of dlpipe.

Some methods of `torch.optim.Optimizer`, and each ``step``, import ``torch._dynamo`` only to keep the compiler out of
what they do. dlpipe compiles models, never optimizers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

#: The methods that torch wraps with `torch._disable_dynamo`, and the names of the wrappers' code.
METHODS, WRAPPER, STEP_WRAPPER = ("add_param_group", "load_state_dict", "state_dict", "zero_grad"), "inner", "_use_grad"


@functools.cache
def eager(kind: type[Optimizer]) -> type[Optimizer]:
    """Return an optimizer like `kind`, one of torch, whose methods are those that torch wraps.

    A method that torch wraps in another way, as another version may, stays as it is.
    """
    members = {name: method for name in METHODS if (method := _within(getattr(kind, name), WRAPPER))}
    if step := _within(kind.step, STEP_WRAPPER):
        members["step"] = _without_gradients(step)
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__doc__": kind.__doc__, **members})


def _within(method: Any, wrapper: str) -> Callable[..., Any] | None:
    """Return what a wrapper wraps, which may be wrapped again itself, or None if there is none of this name."""
    while method is not None and method.__code__.co_name != wrapper:
        method = getattr(method, "__wrapped__", None)
    found: Callable[..., Any] | None = getattr(method, "__wrapped__", None)
    return found


def _without_gradients(step: Callable[..., Any]) -> Callable[..., Any]:
    """Do what `torch.optim.optimizer._use_grad_for_differentiable` does, without the compiler."""

    @functools.wraps(step)
    def eager_step(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **kwargs)

    return eager_step
