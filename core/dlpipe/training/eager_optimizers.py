"""Optimizers of torch without what surrounds their steps for torch's compiler and profiler.

Some methods of `torch.optim.Optimizer`, and each ``step``, import ``torch._dynamo``, which takes longer than all of
dlpipe, only to keep the compiler out of what they do. dlpipe compiles models, never optimizers. And each step announces
itself to the profiler, which costs as much as the update of a small layer, whether or not there is one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import autograd
from torch.optim import Optimizer
from torch.optim import optimizer as optimizer_module

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
    """Do what `torch.optim.optimizer._use_grad_for_differentiable` does, without the compiler.

    What torch does around each step, for profilers and hooks, is done only if there are some.
    """

    @functools.wraps(step)
    def eager_step(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **kwargs)

    watched_step = Optimizer.profile_hook_step(eager_step)

    @functools.wraps(step)
    def step_with_hooks_if_any(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        return (watched_step if _is_watched(self) else eager_step)(self, *args, **kwargs)

    step_with_hooks_if_any.hooked = True  # type: ignore[attr-defined]  # or torch would wrap it again
    return step_with_hooks_if_any


def _is_watched(optimizer: Optimizer) -> bool:
    """Return whether a profiler is active or a hook is registered."""
    return bool(
        autograd._profiler_enabled()  # type: ignore[attr-defined]
        or optimizer_module._global_optimizer_pre_hooks
        or optimizer_module._global_optimizer_post_hooks
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
    )
