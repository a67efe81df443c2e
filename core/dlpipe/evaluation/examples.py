"""A split as evaluators see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from dlpipe.compute import Compute
from dlpipe.data.batches import Batches
from dlpipe.data.columns import Columns
from dlpipe.data.model_caller import ModelCaller, tensors_in
from dlpipe.data.worker_datasets import FirstExamples
from dlpipe.progress import tracked
from dlpipe.protocols import Batch, Data

#: Batches and outputs of a pass that are cached for the next evaluator instead of computed again.
KEPT_BYTES = 500_000_000


class Examples:
    """The examples of one split, unshuffled, and the predictions of a model for them.

    Args:
        split: its name.
        limit: only use this many batches, the first ones (for trying things out).
        most: only use this many examples, drawn at random, always the same ones; of a stream, its first ones. None for
            all.

    Attributes:
        data: the component that the split belongs to, for `present` and similar methods.
        compute: where the model is.
        limit: as given. Evaluators that work otherwise than by batches do as little: they generate `at_most` some
            number of samples, or take that many steps with a model of their own.
        used: whether somebody has asked for predictions, or for how many samples to generate.
        check_stop: called before each evaluator, and by `tracked` before each batch and whatever else an evaluator
            counts; raises an error if the evaluation has to stop.
    """

    def __init__(
        self, data: Data, split: str, compute: Compute, *, limit: int | None = None, most: int | None = None
    ) -> None:
        self.data, self.split = data, split
        self.compute, self.limit, self._most = compute, limit, most
        self.used = False
        self.check_stop: Callable[[], None] = lambda: None
        self._batches: Batches | None = None
        self._kept: list[tuple[Batch, Any]] = []
        self._kept_for: nn.Module | None = None

    def predictions(self, model: nn.Module) -> Iterator[tuple[Batch, Any, Tensor]]:
        """Iterate over (batch, outputs, predictions); a batch holds ``rows`` (B,), its numbers in the split.

        The examples of a stream have no numbers: its ``rows`` are empty, (0,).

        The pass is shared: a second evaluator of the same model gets the outputs computed for the first one, until
        `forget`. The model is in evaluation mode, and no gradients are computed.
        """
        return _predicted(model, self.outputs(model))

    def outputs(self, model: nn.Module) -> Iterator[tuple[Batch, Any]]:
        """Iterate over (batch, outputs) of the same pass, for a model that need not have predictions."""
        self.used = True
        if self._batches is None:
            self._batches = self._batches_of(self.data.split(self.split))
        return iter(self._kept) if self._kept_for is model else self._pass(model, self._batches)

    def predictions_on(self, model: nn.Module, split: Columns | Dataset[Any]) -> Iterator[tuple[Batch, Any, Tensor]]:
        """Iterate in the same way over other examples (the same ones with noise, for example); nothing is cached.

        Of a split of the same length, the same rows are used.
        """
        self.used = True
        return _predicted(model, self._run(model, self._batches_of(split)))

    def at_most(self, count: int) -> int:
        """Return `count`, or the number of examples that are to be used if that is less."""
        self.used = True
        bounds = (count, self._most, None if self.limit is None else self.limit * self.compute.evaluation_batch_size)
        return min(bound for bound in bounds if bound is not None)

    @property
    def count(self) -> int | None:
        """The number of examples, without `limit`; None for a stream, and for what is no list of examples."""
        split = self.data.split(self.split)
        if not hasattr(split, "__len__") or isinstance(split, Mapping):
            return self._most
        return len(split) if self._most is None else min(len(split), self._most)

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
        only = None
        if self._most is not None and isinstance(split, IterableDataset):
            split = FirstExamples(split, self._most)
        elif self._most is not None and hasattr(split, "__len__") and len(split) > self._most:
            only = _drawn(len(split), self._most)
        options: dict[str, Any] = {"training": False, "workers": "auto", "ranks": self.compute.ranks}
        return Batches(split, self.compute.evaluation_batch_size, self.compute, only=only, **options)


def _drawn(count: int, most: int) -> Tensor:
    """Return `most` of `count` rows, drawn at random, always the same ones, in growing order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most].sort().values


def _predicted(model: nn.Module, passed: Iterator[tuple[Batch, Any]]) -> Iterator[tuple[Batch, Any, Tensor]]:
    caller: ModelCaller | None = None
    for batch, outputs in passed:
        caller = caller or ModelCaller(model, tuple(batch))
        with torch.inference_mode():
            predicted = caller.predictions(outputs, batch)
        yield batch, outputs, predicted
