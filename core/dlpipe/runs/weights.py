"""Weights of a model as a safetensors file, which holds tensors and nothing that could run.

The format stores every tensor by itself. In a model, two may be one (tied weights) or parts of one (views): a tied
tensor is stored once, parts are stored each for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


def unsavable_weights(model: nn.Module) -> str:
    """Return which part of a model's ``state_dict()`` cannot be saved, and what is expected; empty if all can."""
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            owner = "get_extra_state()" if name.endswith("_extra_state") else "an entry"
            return f"{name!r} is of type {type(value).__name__} ({owner}); expected tensors: use register_buffer()"
        if is_lazy(value):
            return f"{name!r} has no size before the first step; expected sizes from the constructor, no lazy layers"
        if value.layout is not torch.strided:
            return f"{name!r} has the layout {value.layout}; expected a dense tensor"
        if any(size > 1 and stride == 0 for size, stride in zip(value.shape, value.stride(), strict=True)):
            return f"{name!r} repeats the same numbers in memory (expand()); expected a tensor of its own: clone() it"
    return ""


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the weights of a model.

    Raises:
        SafetensorError, OSError: the file cannot be written.
    """
    first: dict[Any, str] = {}  # name of the first tensor with this memory
    storages: set[int] = set()
    saved: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.numel() and (twin := first.setdefault(_memory(tensor), name)) != name:
            tied[name] = twin
            continue
        storage = tensor.untyped_storage().data_ptr()
        saved[name] = tensor.clone() if storage in storages else tensor
        saved[name] = saved[name].contiguous()
        storages.add(storage)
    save_file(saved, path, metadata=tied or None)


def load_weights_file(path: Path, model: nn.Module) -> None:
    """Load weights that `save_weights` wrote.

    Raises:
        RuntimeError: they do not fit the model.
        SafetensorError, OSError: the file cannot be read.
    """
    loaded = load_file(path)
    _resize_fitted(model, loaded)
    own = model.state_dict()
    memory = {tensor.untyped_storage().data_ptr() for name, tensor in own.items() if name in loaded}
    for name in own.keys() - loaded.keys():
        if own[name].untyped_storage().data_ptr() in memory:  # loading the other one sets this one, too
            loaded[name] = own[name]
    model.load_state_dict(loaded)


def _resize_fitted(model: nn.Module, loaded: Mapping[str, Tensor]) -> None:
    """Give the buffers of modules with a method ``fit`` the sizes that were saved: they are learned, too."""
    for prefix, module in model.named_modules():
        if callable(getattr(module, "fit", None)):
            for name, buffer in module.named_buffers(recurse=False):
                saved = loaded.get(f"{prefix}.{name}".lstrip("."))
                if saved is not None:
                    buffer.resize_(saved.shape)


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
