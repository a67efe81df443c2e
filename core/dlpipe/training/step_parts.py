"""Where the time of a training step goes, measured from outside: neither the loop nor a trainer has a timer.

While a `StepParts` is entered, what all trainers share is replaced by the same with a timer around it: the batches
of dlpipe, the loss of a batch, the backward pass of torch and the steps of its optimizers.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from dlpipe.data.batches import Batches
from dlpipe.training.losses import BatchLoss

DATA, FORWARD, BACKWARD, OPTIMIZER, REST = "data", "forward_and_loss", "backward", "optimizer", "rest"
PARTS = (DATA, FORWARD, BACKWARD, OPTIMIZER)
ENDED: Any = object()
Taken = TypeVar("Taken")


class StepParts:
    """Measures the parts of steps while it is entered, which must be before the trainer's iterator starts.

    A trainer that uses none of dlpipe's batches and losses has no such parts, and what it does there counts as the
    rest.

    Args:
        device: what it computes on; an accelerator is waited for at every change from one part to another.
        clock: seconds since some moment.

    Attributes:
        seconds: of each part in all measured steps, without those of the parts within it; one that never occurred is
            missing, except for the rest.
        annotate: also name the parts in the trace of a profiler.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self.annotate = False
        self._device, self._clock = device, clock
        self._open: list[tuple[str, contextlib.AbstractContextManager[Any]]] = []
        self._since = 0.0
        self._replaced = contextlib.ExitStack()

    def __enter__(self) -> StepParts:
        with contextlib.ExitStack() as stack:
            stack.enter_context(replaced(Batches, "epoch", self._timed_items))
            stack.enter_context(replaced(BatchLoss, "__call__", lambda loss: self._timed(FORWARD, loss)))
            stack.enter_context(replaced(torch.autograd, "backward", lambda back: self._timed(BACKWARD, back)))
            hooks = (
                register_optimizer_step_pre_hook(lambda *_: self._begin(OPTIMIZER)),
                register_optimizer_step_post_hook(lambda *_: self._end()),
            )
            for hook in hooks:
                stack.callback(hook.remove)
            self._replaced = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replaced.close()

    def measure(self, take_step: Callable[[], Taken]) -> tuple[Taken, float]:
        """Take a step, add its parts to `seconds`, and return what it returned and how many seconds it took."""
        self._wait()
        started = self._clock()
        self._begin(REST)
        try:
            taken = take_step()
        finally:
            while self._open:  # more than one only after an error
                self._end()
        return taken, self._clock() - started

    def time(self, take_step: Callable[[], Taken]) -> tuple[Taken, float]:
        """Take a step without looking at its parts; return what it returned and how many seconds it took."""
        self._wait()
        started = self._clock()
        taken = take_step()
        self._wait()
        return taken, self._clock() - started

    def shares(self) -> dict[str, float | None]:
        """Return the share of each part in all measured steps; None for one that cannot be told from the rest.

        If there is no part at all, that holds for the rest too.
        """
        total = sum(self.seconds.values())
        names = (*PARTS, REST)
        if not total or self.seconds.keys() <= {REST}:
            return dict.fromkeys(names)
        return {name: self.seconds[name] / total if name in self.seconds else None for name in names}

    def _begin(self, part: str) -> None:
        if not self._open and part != REST:
            return  # outside of a measured step
        self._charge()
        label = torch.profiler.record_function(part) if self.annotate else contextlib.nullcontext()
        label.__enter__()
        self._open.append((part, label))

    def _end(self) -> None:
        if self._open:
            self._charge()
            _, label = self._open.pop()
            label.__exit__(None, None, None)

    def _charge(self) -> None:
        """Add the time since the last change to the part that is open."""
        if self._open:
            self._wait()
        now = self._clock()
        if self._open:
            part = self._open[-1][0]
            self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now

    def _wait(self) -> None:
        if self._device.type != "cpu":
            torch.accelerator.synchronize()

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            self._begin(part)
            try:
                return function(*arguments, **options)
            finally:
                self._end()

        return timed

    def _timed_items(self, epoch: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def timed(*arguments: Any, **options: Any) -> Iterator[Any]:
            items = iter(epoch(*arguments, **options))
            following = self._timed(DATA, lambda: next(items, ENDED))
            while (item := following()) is not ENDED:
                yield item

        return timed


@contextlib.contextmanager
def replaced(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Iterator[None]:
    """Replace an attribute, such as a function, by what `wrap` makes of it."""
    original = getattr(owner, name)
    setattr(owner, name, wrap(original))
    try:
        yield
    finally:
        setattr(owner, name, original)
