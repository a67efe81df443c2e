"""Activation checkpointing: outputs inside of layers are computed again in the backward pass instead of being kept.

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", https://arxiv.org/abs/1604.06174
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dlpipe.errors import InputError


def checkpoint_activations(model: nn.Module, pattern: str) -> list[nn.Module]:
    """Let the layers whose names match a pattern keep only their inputs in training; a layer within one is part of it.

    Returns:
        these layers; run backward passes within `unchanged_buffers` of them.

    Raises:
        InputError: there is no such layer.
    """
    matched: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in matched)
        if name and fnmatchcase(name, pattern) and not inside:
            matched[name] = module
            # With the forward found, which need not be that of its class; a deep copy of the module copies both.
            module.forward = partial(_forward, module, module.forward)
    if not matched:
        names = ", ".join(name for name, _ in model.named_modules() if name) or "none"
        raise InputError(
            f'activation_checkpointing = "{pattern}": {type(model).__name__} has no such layer; expected a pattern '
            f'such as "layers.*" for the names of its layers: {names}'
        )
    return list(matched.values())


def _forward(module: nn.Module, forward: Callable[..., Any], /, *inputs: Any, **named: Any) -> Any:
    if not (module.training and torch.is_grad_enabled()):
        return forward(*inputs, **named)
    return checkpoint(forward, *inputs, use_reentrant=False, **named)


@contextmanager
def unchanged_buffers(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Keep the buffers of layers while they compute their outputs again: batch normalization counts a batch once.

    The recomputation cannot do this by itself: torch's compiler does not support a `context_fn` of `checkpoint`.
    """
    kept = [
        (module, name, buffer, buffer.clone())
        for layer in layers
        for module in layer.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in kept:
                module._buffers[name] = buffer.copy_(value)
