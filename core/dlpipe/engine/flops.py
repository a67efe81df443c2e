"""Floating-point operations of a step, and how many a device can do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from dlpipe.compute import Compute

Taken = TypeVar("Taken")
#: Rows and columns of the matrices whose product gives the peak of a device.
SIDE = 2048
REPEATS = 3


def count_flops(take_step: Callable[[], Taken]) -> int:
    """Take a step and return the floating-point operations of its matrix products and convolutions.

    What a library computes as a whole, such as a recurrent layer on a CPU, is not counted.
    """
    from torch.utils.flop_counter import FlopCounterMode  # imports torch's operators for the compiler

    with FlopCounterMode(display=False) as counter:
        take_step()
    return int(counter.get_total_flops())


def measured_peak(compute: Compute) -> float:
    """Return the FLOP/s of a product of two square matrices on the device, in the precision of the forward pass."""
    left, right = (torch.rand(SIDE, SIDE, device=compute.device).to(compute.dtype) for _ in range(2))
    seconds = []
    for _ in range(REPEATS + 1):  # the first one also loads the library
        started = time.perf_counter()
        left @ right
        if compute.device.type != "cpu":
            torch.accelerator.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(seconds[1:])
