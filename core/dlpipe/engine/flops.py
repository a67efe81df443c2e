"""Floating-point operations of a step, and how many a device can do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from dlpipe.compute import Compute

Taken = TypeVar("Taken")
#: Rows and columns of the matrices: of a CPU, and of an accelerator.
SIDE, ACCELERATOR_SIDE = 2048, 8192
#: Products that an accelerator is given at once: to launch a small one and to wait for it takes longer than itself.
PRODUCTS = 10
REPEATS = 3


def count_flops(take_step: Callable[[], Taken]) -> int:
    """Take a step and return the floating-point operations of its matrix products and convolutions.

    What a library computes as a whole, such as a recurrent layer on a CPU, is not counted.
    """
    from torch.utils.flop_counter import FlopCounterMode  # imports torch's operators for the compiler

    with FlopCounterMode(display=False) as counter:
        take_step()
    return int(counter.get_total_flops())


def peak_side(device: torch.device) -> int:
    """Return the rows and columns of the matrices whose product gives the peak of a device."""
    return SIDE if device.type == "cpu" else ACCELERATOR_SIDE


def measured_peak(compute: Compute) -> float:
    """Return the FLOP/s of a product of two square matrices on the device, in the precision of the forward pass."""
    side = peak_side(compute.device)
    products = 1 if compute.device.type == "cpu" else PRODUCTS
    left, right = (torch.rand(side, side, device=compute.device).to(compute.dtype) for _ in range(2))
    seconds = []
    for _ in range(REPEATS + 1):  # the first one also loads the library
        started = time.perf_counter()
        for _ in range(products):
            left @ right
        if compute.device.type != "cpu":
            torch.accelerator.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 * products / min(seconds[1:])
