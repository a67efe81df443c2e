"""How much memory a stage takes."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

Returned = TypeVar("Returned")


def memory_in_use(device: torch.device) -> Callable[[], int]:
    """Return what returns the bytes in use: reserved of the GPU by this process, or its resident set on the host.

    Neither waits for the GPU.
    """
    if device.type == "cuda":
        return lambda: torch.cuda.memory_reserved(device)
    statm, page = Path("/proc/self/statm"), os.sysconf("SC_PAGE_SIZE")
    if not statm.exists():  # not Linux: the largest so far
        return _peak_of_process
    return lambda: int(statm.read_text(encoding="ascii").split()[1]) * page


class MemoryPeak:
    """By how much memory grew at most since it was created: what torch allocated on a GPU, or the process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.init()  # what is called next does not, if the device has an index
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
            return
        with contextlib.suppress(OSError):  # only Linux can; elsewhere an earlier peak hides a later one
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = _peak_of_process()

    @property
    def kind(self) -> str:
        """How it is measured."""
        return "max_memory_allocated" if self._device.type == "cuda" else "peak RSS growth"

    def read(self) -> int:
        """Return the peak in bytes."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        return _peak_of_process() - self._before


def _peak_of_process() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def kept_for_backward(model: nn.Module, take_step: Callable[[], Returned]) -> int:
    """Take a step and return the bytes that its forward passes kept for their backward passes, besides the weights."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        take_step()
    return sum(kept.values())
