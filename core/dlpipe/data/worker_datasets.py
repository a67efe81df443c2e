"""What a DataLoader reads, in this process or in several worker processes: whole batches, or parts of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, default_collate, get_worker_info
from torch.utils.data._utils import worker as torch_worker

from dlpipe.compute import IsolatedRNG, derived_seed, seed_host
from dlpipe.data.worker_process import Failure
from dlpipe.protocols import Batch, SupportsShards


class WholeBatches(Dataset[Any]):
    """A dataset whose items are whole batches of another dataset, indexed by (what seeds the batch, its rows)."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self._dataset = dataset

    def __getitem__(self, index: tuple[tuple[int | str, ...], list[int]]) -> Batch | Failure:
        seed, rows = index
        try:
            with IsolatedRNG(derived_seed(*seed)):
                return default_collate([self._dataset[row] for row in rows])  # type: ignore[no-any-return]
        except Exception as error:
            if get_worker_info() is None:
                raise
            return Failure.of(error)


class StreamParts(IterableDataset[Any]):
    """The batches of one rank of a stream; each worker reads its part of every batch.

    Example i of the stream is in batch ``i // batch_size``. Of the examples of a rank, from `start` on, each worker
    reads every one whose position leaves its number as the remainder, so the parts that a DataLoader gets from its
    workers in turn make up one batch after the other, whatever their number.

    Before an example is read, the global generators are seeded by `seed` and its number. Whoever iterates over this in
    the main process isolates them.

    Args:
        batch_size: of all ranks together.
        rank: of this process, among `ranks`; it reads example ``rank``, ``rank + ranks`` …
        start: the first batch to read.
        seed: what the seeds of this epoch are derived from.
    """

    def __init__(
        self, stream: IterableDataset[Any], batch_size: int, *, rank: int, ranks: int, start: int, seed: tuple[Any, ...]
    ) -> None:
        self._stream, self._seed = stream, seed
        self._batch_size, self._rank, self._ranks, self._start = batch_size, rank, ranks, start

    def numbers(self, batch: int) -> range:
        """Return the numbers of the examples of this rank in a batch that is complete."""
        begin = batch * self._batch_size
        return range(begin + (self._rank - begin) % self._ranks, begin + self._batch_size, self._ranks)

    def __iter__(self) -> Iterator[tuple[Tensor, Any] | Failure]:
        """Yield the numbers (P,) of the examples of a part, and the part as a batch."""
        worker = get_worker_info()
        # A stream that distributes its examples over the workers itself, as torch recommends, must not do so again.
        torch_worker._worker_info = None
        try:
            yield from self._parts(*((worker.id, worker.num_workers) if worker else (0, 1)))
        except Exception as error:
            if worker is None:
                raise
            yield Failure.of(error)

    def _parts(self, worker: int, workers: int) -> Iterator[tuple[Tensor, Any]]:
        stride = workers * self._ranks
        numbers: list[int] = []
        examples: list[Any] = []
        for number, example in self._examples(self.numbers(self._start)[0] + worker * self._ranks, stride):
            numbers.append(number)
            examples.append(example)
            if (number + stride) // self._batch_size > number // self._batch_size:
                yield torch.tensor(numbers), default_collate(examples)
                numbers, examples = [], []
        if examples:
            yield torch.tensor(numbers), default_collate(examples)

    def _examples(self, first: int, stride: int) -> Iterator[tuple[int, Any]]:
        """Yield the examples `first`, ``first + stride`` … with their numbers; others are skipped, or not even read."""
        seed_host(derived_seed(*self._seed))  # for what is drawn once, such as the order of files
        if isinstance(self._stream, SupportsShards):
            numbers, examples = count(first, stride), self._stream.shard(first, stride)
        else:
            numbers, examples = count(), iter(self._stream)
        for number in numbers:
            seed_host(derived_seed(*self._seed, number))
            try:
                example = next(examples)
            except StopIteration:
                return
            if number >= first and (number - first) % stride == 0:
                yield number, example


class FirstExamples(IterableDataset[Any]):
    """The first examples of a stream.

    Args:
        most: how many of them; fewer if the stream has no more.
    """

    def __init__(self, stream: IterableDataset[Any], most: int) -> None:
        self._stream, self._most = stream, most
        self.prepare = getattr(stream, "prepare", None)

    def __iter__(self) -> Iterator[Any]:
        """Yield them."""
        return islice(iter(self._stream), self._most)


def joined(parts: list[tuple[Tensor, Batch]]) -> Batch:
    """Return one batch of parts, given with the numbers of their examples, in the order of these numbers."""
    if len(parts) == 1:
        return parts[0][1]
    order = torch.cat([numbers for numbers, _ in parts]).argsort()
    columns = {name: torch.cat([part[name] for _, part in parts]) for name in parts[0][1]}
    return {name: column.index_select(0, order.to(column.device)) for name, column in columns.items()}
