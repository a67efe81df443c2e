"""Room for a large tensor: in memory where it fits, else in a scratch file that is mapped into it."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from dlpipe.errors import InputError

#: Share of the memory (or disk) that is free now which one tensor may take.
SHARE = 0.8


class Room:
    """A tensor of zeros, and the file behind it if there is one.

    Memory is taken from the system page by page, as it is written to.

    Args:
        storage: "memory", "disk", or "auto": memory if at most 80 % of what is free is needed, else the disk.
        advice: what to do where there is no room, for the message.

    Attributes:
        tensor: the room.
        told: its size in words, and where it is.

    Raises:
        InputError: there is not so much room.
    """

    def __init__(
        self, shape: Sequence[int], dtype: torch.dtype, storage: Literal["auto", "memory", "disk"], advice: str
    ) -> None:
        count = int(np.prod(shape))
        self.nbytes = count * dtype.itemsize
        free, disk = free_memory(), shutil.disk_usage(tempfile.gettempdir()).free
        fits = self.nbytes <= SHARE * free
        self._folder: Path | None = None
        if fits if storage == "auto" else storage == "memory":
            if not fits:
                raise InputError(f"{size(self.nbytes)} are needed, and {size(free)} of memory are free; {advice}")
            self.tensor = torch.from_numpy(np.zeros(shape, _numpy_type(dtype)))
            self.told = f"{size(self.nbytes)} in memory"
            return
        if self.nbytes > SHARE * disk:
            raise InputError(
                f"{size(self.nbytes)} are needed; {size(free)} of memory and {size(disk)} of disk "
                f"({tempfile.gettempdir()}) are free; {advice}"
            )
        self._folder = Path(tempfile.mkdtemp(prefix="dlpipe-replay-"))
        flat = torch.from_file(str(self._folder / "frames"), shared=True, size=count, dtype=dtype)
        # The file has no name any more from here on: however the process ends, nothing is left behind.
        self.close()
        self.tensor = flat.view(*shape)
        self.told = f"{size(self.nbytes)} in a scratch file on the disk"

    def close(self) -> None:
        """Remove the name of the file."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def free_memory() -> int:
    """Return how many bytes of memory are free or could be made so."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not a Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def size(nbytes: float) -> str:
    """Return a number of bytes in words, such as ``7.06 GB``."""
    power = min(3, int(math.log10(max(nbytes, 1))) // 3)
    return f"{nbytes / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB')[power]}"


def _numpy_type(dtype: torch.dtype) -> np.dtype[np.generic]:
    return torch.empty(0, dtype=dtype).numpy().dtype
