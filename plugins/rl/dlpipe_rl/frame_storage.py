"""Storage for a large tensor: in memory if it fits, else in a memory-mapped scratch file."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from dlpipe.compute import available_memory
from dlpipe.errors import InputError

#: Largest share of the free memory (or disk) that one tensor may take.
MAX_SHARE = 0.8


class FrameStorage:
    """A tensor of zeros, in memory or in a scratch file.

    The system allocates memory page by page, as it is written to.

    Args:
        storage: "memory", "disk", or "auto": memory if at most 80 % of the free memory is needed, else the disk.
        hint: the next step if there is not enough space, for the message.

    Attributes:
        tensor: the tensor.
        description: its size and where it is, in words.

    Raises:
        InputError: there is not enough space.
    """

    def __init__(
        self, shape: Sequence[int], dtype: torch.dtype, storage: Literal["auto", "memory", "disk"], hint: str
    ) -> None:
        count = int(np.prod(shape))
        self.nbytes = count * dtype.itemsize
        free, disk = available_memory(torch.device("cpu")), shutil.disk_usage(tempfile.gettempdir()).free
        fits = self.nbytes <= MAX_SHARE * free
        self._folder: Path | None = None
        if fits if storage == "auto" else storage == "memory":
            if not fits:
                raise InputError(f"{size(self.nbytes)} are needed, and {size(free)} of memory are free; {hint}")
            self.tensor = torch.from_numpy(np.zeros(shape, _numpy_type(dtype)))
            self.description = f"{size(self.nbytes)} in memory"
            return
        if self.nbytes > MAX_SHARE * disk:
            raise InputError(
                f"{size(self.nbytes)} are needed; {size(free)} of memory and {size(disk)} of disk "
                f"({tempfile.gettempdir()}) are free; {hint}"
            )
        self._folder = Path(tempfile.mkdtemp(prefix="dlpipe-replay-"))
        flat = torch.from_file(str(self._folder / "frames"), shared=True, size=count, dtype=dtype)
        # The mapping outlives the name of the file: however the process ends, no file is left.
        self.close()
        self.tensor = flat.view(*shape)
        self.description = f"{size(self.nbytes)} in a scratch file on the disk"

    def close(self) -> None:
        """Remove the file from its folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def size(nbytes: float) -> str:
    """Return a number of bytes in words, such as ``7.06 GB``."""
    power = min(3, int(math.log10(max(nbytes, 1))) // 3)
    return f"{nbytes / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB')[power]}"


def _numpy_type(dtype: torch.dtype) -> np.dtype[np.generic]:
    return torch.empty(0, dtype=dtype).numpy().dtype
