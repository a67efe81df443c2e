"""How much memory there is, and how much of it a stage takes."""

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
#: Of a process in a container, or in a job of a batch system (cgroup v2).
CONTROL_GROUP = Path("/sys/fs/cgroup")


def available_memory(device: torch.device) -> int:
    """Return the bytes that this process can still allocate: of the GPU, or of the host within its control group."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        host = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux
        host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return min([host, *_left_in_control_group()])


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


def _left_in_control_group() -> list[int]:
    """Return what a container or a job of a batch system may still use, if it is limited."""
    with contextlib.suppress(OSError, ValueError):  # no limit is the word "max"
        limit = int((CONTROL_GROUP / "memory.max").read_text())
        statistics = dict(line.split() for line in (CONTROL_GROUP / "memory.stat").read_text().splitlines())
        used = int((CONTROL_GROUP / "memory.current").read_text()) - int(
            statistics["inactive_file"]
        )  # a cache that is freed
        return [max(0, limit - used)]
    return []


class MemoryPeak:
    """The largest amount of memory since it was created: what torch allocated on a GPU, else growth of the process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
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
            return torch.cuda.max_memory_allocated(self._device)
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
