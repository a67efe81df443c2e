"""A GPU that is not there: its tensors hold their values in the host's memory, and every wait for them is counted.

A program that reads a value of a GPU, or copies to it without ``non_blocking``, waits until the GPU has done everything
before. Which lines do so can be counted without one: tensors here claim to be on another device (that of meta tensors),
compute on the CPU, and know when the host reads them.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
GPU = torch.device("meta")
#: Operators whose result the host must see: a number, or a shape that depends on values.
READS = {
    aten._local_scalar_dense.default: "reads a number",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten.equal.default: "equal",
    aten.bincount.default: "bincount",
    aten.multinomial.default: "multinomial",
    aten._unique2.default: "unique",
    aten.repeat_interleave.Tensor: "repeat_interleave",
}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
#: Operators that take lengths in the host's memory beside values on the GPU.
MIXED = {
    aten._pack_padded_sequence.default,
    aten._pad_packed_sequence.default,
    aten._ctc_loss.Tensor,
    aten._ctc_loss_backward.Tensor,
}


class OnGPU(Tensor):
    """A tensor on the GPU; `host` has its values."""

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: Tensor) -> OnGPU:
        options = {"strides": host.stride(), "storage_offset": host.storage_offset(), "dtype": host.dtype}
        return Tensor._make_wrapper_subclass(cls, host.shape, device=GPU, **options)

    def __init__(self, host: Tensor) -> None:
        self.host = host

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of pretend_gpu()")


def host_of(value: Any) -> Any:
    return value.host if isinstance(value, OnGPU) else value


def on_gpu(value: Any) -> Any:
    return OnGPU(value) if isinstance(value, Tensor) and not isinstance(value, OnGPU) else value


class Waits(TorchDispatchMode):
    """Computes for tensors on the GPU, and counts by source line when the host waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def note(self, what: str) -> None:
        """Count a wait at the innermost line of dlpipe that is running."""
        frames = [frame for frame in traceback.extract_stack() if "dlpipe" in frame.filename]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        self.counts[f"{where} {what}"] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        leaves = tree_leaves((args, kwargs))
        touched = any(isinstance(leaf, OnGPU) for leaf in leaves)
        device = kwargs.get("device")
        result_there = touched if device is None else torch.device(device).type == GPU.type
        if device is not None and result_there:
            kwargs["device"] = torch.device("cpu")
        self._look(func, args, kwargs, leaves, touched, result_there)
        if func is aten._to_copy.default:
            kwargs.pop("non_blocking", None)
        result = func(*tree_map(host_of, args), **tree_map(host_of, kwargs))
        if touched and torch.Tag.inplace_view in func.tags:  # transpose_() and such, which change the shape as well
            with torch._C._DisableTorchDispatch():
                func(*args, **kwargs)
        if func._schema.is_mutable:  # the same object again
            known = {id(leaf.host): leaf for leaf in leaves if isinstance(leaf, OnGPU)}
            result = tree_map(lambda leaf: known.get(id(leaf), leaf), result)
        if not result_there:
            return result
        if func is aten._pack_padded_sequence.default:
            return on_gpu(result[0]), result[1]
        return tree_map(on_gpu, result)

    def _look(self, func: Any, args: Any, kwargs: Mapping[str, Any], leaves: Any, touched: bool, there: bool) -> None:
        """Count what makes the host wait, and refuse what a real GPU refuses."""
        if func in (aten._to_copy.default, aten.copy_.default):
            source, goal = (args[0], there) if func is aten._to_copy.default else (args[1], isinstance(args[0], OnGPU))
            waits = not kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
            if isinstance(source, OnGPU) and not goal:
                self.note("copies from the GPU")
            elif goal and not isinstance(source, OnGPU) and waits:
                self.note("copies to the GPU")
            return
        if func in READS and touched:
            self.note(READS[func])
        if func in INDEXING and isinstance(args[0], OnGPU):
            self._look_at_indices(args[1])
        elif touched and func not in MIXED:
            strange = [
                leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim() and not isinstance(leaf, OnGPU)
            ]
            assert not strange or kwargs.get("device") is not None, f"{func} mixes devices"

    def _look_at_indices(self, indices: Sequence[Tensor | None]) -> None:
        for index in indices:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                self.note("indexes by a mask")
            elif index is not None and not isinstance(index, OnGPU):
                self.note("copies indices to the GPU")


class _Functions(TorchFunctionMode):
    """Handles the functions that fill or read a tensor without any operator that `Waits` could see."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = torch.device(kwargs.pop("device"))
            return func(*args, **kwargs).to(device)
        if func in (Tensor.tolist, Tensor.numpy) and isinstance(args[0], OnGPU):
            self._waits.note(func.__name__)
            return func(args[0].host.detach(), *args[1:], **kwargs)
        return func(*args, **kwargs)


@contextmanager
def pretend_gpu() -> Iterator[Counter[str]]:
    """Within the context, the device `GPU` exists. Yield how often the host has waited for it, by source line."""
    waits = Waits()
    real: Callable[..., torch.Generator] = torch.Generator
    with pytest.MonkeyPatch.context() as patch:
        # A class, as annotations such as `torch.Generator | None` need one.
        patch.setattr(torch, "Generator", type("Generator", (), {"__new__": lambda cls, device="cpu": real()}))
        patch.setattr(torch, "inference_mode", torch.no_grad)  # which a tensor class in Python does not support
        optimizers = sys.modules[torch.optim.Optimizer.__module__]
        patch.setattr(optimizers, "_get_fused_kernels_supported_devices", lambda: ["cpu", GPU.type])
        with waits, _Functions(waits):
            yield waits.counts
