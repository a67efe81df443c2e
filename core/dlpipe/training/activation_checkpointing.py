"""Activation checkpointing: outputs inside of layers are computed again in the backward pass instead of being kept.

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", https://arxiv.org/abs/1604.06174
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fnmatch import fnmatchcase
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dlpipe.errors import InputError


def checkpoint_activations(model: nn.Module, pattern: str) -> None:
    """Let the layers whose names match a pattern keep only their inputs in training; a layer within one is part of it.

    Raises:
        InputError: there is no such layer.
    """
    matched: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in matched)
        if name and fnmatchcase(name, pattern) and not inside:
            matched.append(name)
            # A method, since a deep copy of the module then gets one of its own.
            module.forward = MethodType(_forward, module)
    if not matched:
        names = ", ".join(name for name, _ in model.named_modules() if name) or "none"
        raise InputError(
            f'activation_checkpointing = "{pattern}": {type(model).__name__} has no such layer; expected a pattern '
            f'such as "layers.*" for the names of its layers: {names}'
        )


def _forward(module: nn.Module, *inputs: Any, **named: Any) -> Any:
    forward = type(module).forward
    if not (module.training and torch.is_grad_enabled()):
        return forward(module, *inputs, **named)

    if torch.compiler.is_compiling():  # which does what `contexts` does by itself, and does not support it
        return checkpoint(forward, module, *inputs, use_reentrant=False, **named)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _buffers_unchanged(module)

    return checkpoint(forward, module, *inputs, use_reentrant=False, context_fn=contexts, **named)


@contextmanager
def _buffers_unchanged(module: nn.Module) -> Iterator[None]:
    """Give the modules copies of their buffers: those of a batch normalisation count a batch once."""
    kept = [(each, dict(each._buffers)) for each in module.modules()]
    for each, buffers in kept:
        each._buffers |= {name: buffer.clone() for name, buffer in buffers.items() if buffer is not None}
    try:
        yield
    finally:
        for each, buffers in kept:
            each._buffers |= buffers
