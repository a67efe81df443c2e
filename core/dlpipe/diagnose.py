"""Where a NaN came from: the steps since the last checkpoint are taken again, watched closely.

Training itself looks at the loss only at log points, so that no step waits. As a run can be repeated
exactly, the close look is cheap: it happens once, and only when something is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dlpipe.protocols import Trainer


def first_non_finite(trainer: Trainer, model: nn.Module, step: int, until: int) -> str:
    """Take steps until the first non-finite number and say in a sentence where it is.

    Args:
        trainer: at `step`, in the state of an earlier checkpoint.
        model: the one that it trains.
        until: the step that was found to be non-finite.
    """
    steps = trainer.steps()
    while step < until:
        step += 1
        with _watched(model) as found:
            next(steps)
        if found:
            return f"The first non-finite tensor is the output of {found[0]}, in the forward pass of step {step}."
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and not _finite(parameter.grad):
                return f"The first non-finite tensor is the gradient of `{name}`, at step {step}."
        for name, parameter in model.named_parameters():
            if not _finite(parameter):
                return f"The first non-finite tensor is the weight `{name}`, after the update of step {step}."
    return "Taking the steps again gave finite numbers: the run is not repeatable on this device."


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[str]]:
    found: list[str] = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, inputs: Any, outputs: Any) -> None:
            if not found and not all(_finite(tensor) for tensor in _tensors(outputs)):
                found.append(f"`{name}` ({type(module).__name__})" if name else type(module).__name__)

        return look

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, (list, tuple)):
        for part in outputs:
            yield from _tensors(part)


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
