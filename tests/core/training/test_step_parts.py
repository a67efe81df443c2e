"""Where the time of a step goes, measured with a clock that moves only when a part of the step moves it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlpipe.compute import Compute
from dlpipe.data import Batches, Columns
from dlpipe.data.batches import EndlessBatches
from dlpipe.training.losses import BatchLoss
from dlpipe.training.step_parts import StepParts

CPU = torch.device("cpu")


class Clock:
    """A clock that stands still until something takes time."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(torch.autograd.Function):
    """Takes 4 s in the backward pass."""

    @staticmethod
    def forward(ctx, points, clock):
        ctx.clock = clock
        return points.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.clock.now += 4
        return gradient, None


class Line(nn.Module):
    """Takes 2 s in the forward pass."""

    def __init__(self, clock):
        super().__init__()
        self.score, self.clock = nn.Linear(3, 2), clock

    def forward(self, points):
        self.clock.now += 2
        return Slow.apply(self.score(points), self.clock)


class Closing(torch.optim.SGD):
    """Takes 8 s besides its closure, like L-BFGS."""

    def step(self, closure=None):
        self.param_groups[0]["clock"].now += 8
        if closure:
            closure()


def steps(clock, *, closes):
    """Yield after each step of a loop like that of a trainer, which takes 16 s by itself; a batch takes 1 s."""

    def prepare(batch, generator, training):
        clock.now += 1
        return batch

    data = Columns({"points": torch.ones(6, 3), "targets": torch.zeros(6, dtype=torch.long)}, prepare=prepare)
    model = Line(clock)
    loss_of = BatchLoss(model, ("points", "targets"), Compute(CPU), "auto", 0.0)
    optimizer = Closing([{"params": list(model.parameters()), "clock": clock}], lr=0.1)
    for (batch,) in EndlessBatches(Batches(data, 2, Compute(CPU)), 1):
        clock.now += 16
        if closes:
            optimizer.step(lambda batch=batch: loss_of(batch, 0).backward())
        else:
            loss_of(batch, 0).backward()
            optimizer.step()
        yield


@pytest.mark.parametrize("closes", [False, True])
def test_each_part_has_its_own_seconds(closes):
    clock = Clock()

    with StepParts(CPU, clock) as timer:
        following = steps(clock, closes=closes)
        unmeasured, _ = timer.time(lambda: next(following)), timer.time(lambda: next(following))
        times = [timer.measure(lambda: next(following))[1] for _ in range(2)]

    assert unmeasured[1] == 31
    assert times == [31, 31]
    assert timer.seconds == {"rest": 32, "data": 2, "forward_and_loss": 4, "backward": 8, "optimizer": 16}
    assert timer.shares() == {name: seconds / 62 for name, seconds in timer.seconds.items()}


def test_what_never_occurs_cannot_be_told_from_the_rest():
    clock = Clock()

    def backward_only():
        clock.now += 3
        Slow.apply(torch.ones((), requires_grad=True), clock).backward()

    with StepParts(CPU, clock) as timer:
        assert set(timer.shares().values()) == {None}
        timer.measure(lambda: None)
        assert set(timer.shares().values()) == {None}
        timer.measure(backward_only)

    assert timer.shares() == {
        "data": None, "forward_and_loss": None, "backward": 4 / 7, "optimizer": None, "rest": 3 / 7
    }  # fmt: skip


def test_after_it_nothing_is_measured_and_an_error_ends_a_step():
    before = Batches.epoch, BatchLoss.__call__, torch.autograd.backward

    def fail():
        torch.ones(2, requires_grad=True).backward()

    with StepParts(CPU) as timer:
        with pytest.raises(RuntimeError, match="scalar"):
            timer.measure(fail)
        _, seconds = timer.measure(lambda: None)

    assert sum(timer.seconds.values()) >= seconds
    assert (Batches.epoch, BatchLoss.__call__, torch.autograd.backward) == before
