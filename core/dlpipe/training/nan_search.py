"""Where a NaN came from: the steps since the last checkpoint are repeated and every tensor is checked.

Training itself reads the loss only at log points, so that no step waits for the device. Since a run can be repeated
exactly, the search is cheap: it happens once, and only if something is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dlpipe.data.model_caller import tensors_in
from dlpipe.protocols import Trainer
from dlpipe.training.loss_scale import SKIPPED


def first_non_finite(trainer: Trainer, model: nn.Module, step: int, until: int) -> str:
    """Take steps until the first non-finite number, and return a sentence that says where it is.

    Args:
        trainer: at `step`, in the state of an earlier checkpoint.
        model: the one that it trains.
        until: the step that was found to be non-finite.
    """
    steps = trainer.steps()
    while step < until:
        step += 1
        with _watched(model) as found:
            metrics = next(steps)
        if "loss" not in metrics and SKIPPED in metrics and _finite(metrics[SKIPPED]):
            continue  # what overflowed in float16 did not reach the weights
        if "loss" in metrics and not _finite(metrics["loss"]) and not (found and found[0].startswith("output")):
            return f"The first non-finite tensor is the loss of step {step}; the model's outputs were finite."
        if found:
            return f"The first non-finite tensor is the {found[0]}, at step {step}."
        if broken := [name for name, value in metrics.items() if not _finite(value)]:
            return f"The first non-finite number is {broken[0]!r}, at step {step}."
        for name, tensor in learned_tensors(model):
            if not _finite(tensor):
                kind = "weight" if isinstance(tensor, nn.Parameter) else "running statistic"
                return f"The first non-finite tensor is the {kind} `{name}`, after the update of step {step}."
    return "Repeating the steps gave finite numbers: the run is not repeatable on this device."


def learned_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of a model and the running statistics of its normalization, by name.

    Other buffers may be infinite or NaN from the beginning, such as the mask of an attention.
    """
    yield from model.named_parameters()
    for name, module in model.named_modules():
        if isinstance(module, _NormBase):
            yield from module.named_buffers(name, recurse=False)


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[str]]:
    found: list[str] = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, inputs: Any, outputs: Any) -> None:
            if not found and not all(_finite(tensor) for tensor in tensors_in(outputs)):
                kind = type(module).__name__
                found.append(f"output of `{name}` ({kind})" if name else f"output of {kind}")

        return look

    def watch_gradient(name: str) -> Any:
        def look(gradient: Tensor) -> None:
            if not found and not _finite(gradient):
                found.append(f"gradient of `{name}`")

        return look

    # Gradients arrive from the last layer to the first: the first non-finite one caused those of earlier layers, and
    # clipping would spread it over all of them.
    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    handles += [
        parameter.register_hook(watch_gradient(name))
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _finite(tensor: Tensor) -> bool:
    values = tensor.coalesce().values() if tensor.is_sparse else tensor
    return bool(torch.isfinite(values).all())
