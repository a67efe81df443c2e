"""How this process was started: alone, or as one of several that train together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from dlpipe.errors import InputError


@dataclass(frozen=True)
class Launch:
    """What the program that started this process says about it.

    Args:
        rank: among all processes.
        size: number of processes.
        local_rank: among those on this machine.
        by: the variable that says so, for messages.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    by: str = ""


def launched(environment: Mapping[str, str] = os.environ) -> Launch:
    """Return how this process was started: by torchrun (or alike), by srun, or alone.

    Raises:
        InputError: a variable is not a number, or the rank is not below the number of processes.
    """
    for size, rank, local in (
        ("WORLD_SIZE", "RANK", "LOCAL_RANK"),
        ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    ):
        if size in environment and rank in environment:
            names = (rank, size, local)
            try:
                numbers = [int(environment.get(name, 0)) for name in names]
            except ValueError:
                given = ", ".join(f"{name} = {environment.get(name, '')!r}" for name in names)
                raise InputError(f"the environment has {given}; expected the numbers of torchrun or srun") from None
            found = Launch(numbers[0], numbers[1], numbers[2], by=size)
            if not 0 <= found.rank < found.size:
                raise InputError(f"the environment has {rank} = {found.rank}, but {size} = {found.size}")
            return found
    return Launch()


def usable_cores(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of CPU cores that this process may use: its share of those that torchrun's processes share.

    srun gives each task cores of its own.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    together = environment.get("LOCAL_WORLD_SIZE", "")
    return max(1, cores // int(together)) if together.isdecimal() and int(together) else cores
