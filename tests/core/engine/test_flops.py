"""Floating-point operations of a step, and how many a device can do."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dlpipe.compute import Compute
from dlpipe.engine import flops
from dlpipe.engine.flops import count_flops, measured_peak


def test_matrix_products_of_a_step_are_counted():
    assert count_flops(lambda: torch.ones(2, 5) @ torch.ones(5, 7)) == 2 * 2 * 5 * 7


class Queue(TorchDispatchMode):
    """A device that does 1e15 FLOP/s; each product is launched in 5 µs, and to wait for it takes 20 µs."""

    now = free_at = 0.0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.mm.default:
            self.now += 5e-6
            self.free_at = max(self.now, self.free_at) + 2 * args[0].shape[0] ** 3 / 1e15
        return function(*args, **kwargs or {})

    def wait(self):
        self.now = max(self.now, self.free_at) + 20e-6


def test_the_peak_of_a_fast_gpu_is_not_that_of_launching(monkeypatch):
    queue = Queue()
    monkeypatch.setattr(flops.time, "perf_counter", lambda: queue.now)
    monkeypatch.setattr(torch.accelerator, "synchronize", queue.wait)

    with queue:
        peak = measured_peak(Compute(torch.device("meta"), torch.bfloat16))

    assert peak == pytest.approx(1e15, rel=0.01)


def test_the_peak_of_a_cpu_is_that_of_one_product(monkeypatch):
    monkeypatch.setattr(flops, "SIDE", 16)
    times = iter([0.0, 9.0, 10.0, 12.0, 20.0, 21.0, 30.0, 33.0])  # the first one loads the library
    monkeypatch.setattr(flops.time, "perf_counter", lambda: next(times))

    assert measured_peak(Compute(torch.device("cpu"))) == 2 * 16**3
