"""A split as evaluators see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dlpipe.compute import Compute
from dlpipe.data.batches import Batches
from dlpipe.data.columns import Columns
from dlpipe.data.model_caller import ModelCaller, tensors_in
from dlpipe.progress import tracked
from dlpipe.protocols import Batch, Data

#: Sequences and small images; evaluation keeps no gradients, so larger than in training.
BATCH_SIZE = 256
#: Batches and outputs of a pass that are cached for the next evaluator instead of computed again.
KEPT_BYTES = 500_000_000


class Examples:
    """The examples of one split, unshuffled, and the predictions of a model for them.

    Args:
        split: its name.
        limit: only use this many batches, the first ones (for trying things out).

    Attributes:
        data: the component that the split belongs to, for `present` and similar methods.
        compute: where the model is.
        limit: as given. Evaluators that work otherwise than by batches do as little: they generate `at_most` some
            number of samples, or take that many steps with a model of their own.
        check_stop: called before each batch and each evaluator; raises an error if the evaluation has to stop.
    """

    def __init__(self, data: Data, split: str, compute: Compute, *, limit: int | None = None) -> None:
        self.data, self.split = data, split
        self.compute, self.limit = compute, limit
        self.check_stop: Callable[[], None] = lambda: None
        self._batches: Batches | None = None
        self._kept: list[tuple[Batch, Any]] = []
        self._kept_for: nn.Module | None = None

    def predictions(self, model: nn.Module) -> Iterator[tuple[Batch, Any, Tensor]]:
        """Iterate over (batch, outputs, predictions); a batch holds ``rows`` (B,), its numbers in the split.

        The pass is shared: a second evaluator of the same model gets the outputs computed for the first one, until
        `forget`. The model is in evaluation mode, and no gradients are computed.
        """
        if self._batches is None:
            self._batches = self._batches_of(self.data.split(self.split))
        kept_all = self._kept_for is model
        return _predicted(model, iter(self._kept) if kept_all else self._pass(model, self._batches))

    def predictions_on(self, model: nn.Module, split: Columns | Dataset[Any]) -> Iterator[tuple[Batch, Any, Tensor]]:
        """Iterate in the same way over other examples (the same ones with noise, for example); nothing is cached."""
        return _predicted(model, self._run(model, self._batches_of(split)))

    def at_most(self, count: int) -> int:
        """Return `count`, or the number of examples in as many batches as are to be used."""
        return count if self.limit is None else min(count, self.limit * BATCH_SIZE)

    def forget(self) -> None:
        """Drop the cached outputs; the model has changed."""
        self._kept, self._kept_for = [], None

    def _pass(self, model: nn.Module, batches: Batches) -> Iterator[tuple[Batch, Any]]:
        self.forget()
        kept: list[tuple[Batch, Any]] = []
        size = 0
        for batch, outputs in self._run(model, batches):
            size += sum(tensor.nbytes for tensor in tensors_in([outputs, batch]))
            if size <= KEPT_BYTES:
                kept.append((batch, outputs))
            yield batch, outputs
        if size <= KEPT_BYTES:
            self._kept, self._kept_for = kept, model

    def _run(self, model: nn.Module, batches: Batches) -> Iterator[tuple[Batch, Any]]:
        """Yield the batches in order; where there are several ranks, they run them in turn."""
        caller: ModelCaller | None = None
        model.eval()
        own: tuple[Batch, Any] | None = None
        waiting: list[Tensor] = []  # the rows of batches that are being run, by rank
        passed = zip(islice(batches.epoch(0), self.limit), batches.rows(), strict=False)
        for batch, rows in tracked(passed, "batches", self._number_of(batches)):
            self.check_stop()
            waiting.append(rows)
            if batch:
                caller = caller or ModelCaller(model, tuple(batch))
                with torch.inference_mode(), self.compute.autocast():
                    outputs = caller.outputs(batch)
                own = batch, self.compute.in_float32(outputs)
            if len(waiting) == self.compute.ranks.size:
                yield from self._gathered(own, waiting)
                own, waiting = None, []
        if waiting:
            yield from self._gathered(own, waiting)

    def _number_of(self, batches: Batches) -> int | None:
        per_epoch = batches.per_epoch
        return per_epoch if self.limit is None or per_epoch is None else min(per_epoch, self.limit)

    def _gathered(self, own: tuple[Batch, Any] | None, waiting: Sequence[Tensor]) -> Iterator[tuple[Batch, Any]]:
        """Yield what every rank has run, in the order of the batches."""
        for found, rows in zip(self.compute.ranks.gather_on(self.compute.device, own), waiting, strict=False):
            assert found is not None
            batch, outputs = found
            yield batch | {"rows": rows}, outputs

    def _batches_of(self, split: Any) -> Batches:
        return Batches(split, BATCH_SIZE, self.compute, training=False, workers="auto", ranks=self.compute.ranks)


def _predicted(model: nn.Module, passed: Iterator[tuple[Batch, Any]]) -> Iterator[tuple[Batch, Any, Tensor]]:
    caller: ModelCaller | None = None
    for batch, outputs in passed:
        caller = caller or ModelCaller(model, tuple(batch))
        with torch.inference_mode():
            predicted = caller.predictions(outputs, batch)
        yield batch, outputs, predicted
