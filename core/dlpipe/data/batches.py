"""The batches of an epoch: which examples they contain, in what order, and how they reach the device.

The order of an epoch depends only on (seed, epoch), and so do the random numbers of a dataset that is
read item by item. A resumed run therefore needs only the epoch and the number of batches it has seen,
and the number of worker processes does not affect the results.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count, islice, repeat
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from dlpipe.compute import Compute, IsolatedRNG, derived_seed
from dlpipe.data.columns import Columns, Prepare, on_device
from dlpipe.data.model_caller import reserved_name
from dlpipe.data.worker_datasets import StreamParts, WholeBatches, joined
from dlpipe.data.worker_process import Reader, default_workers
from dlpipe.errors import InputError
from dlpipe.protocols import Batch, SupportsWorkers
from dlpipe.ranks import Ranks


def shuffled(count: int, batch_size: int, generator: torch.Generator, lengths: Tensor | None) -> list[Tensor]:
    """Split `count` examples into batches in a random order.

    With `lengths` (N,), a batch holds sequences of (nearly) one length: examples are sorted by
    length, those of equal length in a random order, then split, and the batches are shuffled. The
    incomplete batch is at a random position of the sorted order, so the boundaries move between epochs.

    Returns:
        row numbers, one tensor per batch; there are always ``ceil(count / batch_size)`` batches.
    """
    if lengths is None:
        return list(torch.randperm(count, generator=generator).split(batch_size))
    noise = torch.rand(count, generator=generator, dtype=torch.float64)
    order = torch.argsort(lengths + noise)
    whole, rest = divmod(count, batch_size)
    sizes = [batch_size] * whole
    if rest:
        sizes.insert(int(torch.randint(whole + 1, (1,), generator=generator)), rest)
    batches = order.split(sizes)
    return [batches[index] for index in torch.randperm(len(batches), generator=generator)]


def drawn(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Return the rows of an epoch (N,), drawn with replacement in proportion to weights (N,); never one of weight 0."""
    sums = weights.cumsum(0)
    # Their last one is exactly 1, which no random number reaches. (torch.multinomial takes at most 2**24 weights.)
    random = torch.rand(len(weights), generator=generator, dtype=torch.float64)
    return torch.searchsorted(sums / sums[-1], random, right=True)


def in_order(count: int, batch_size: int, lengths: Tensor | None) -> list[Tensor]:
    """Split `count` examples into batches for evaluation: sorted by length if `lengths` is given, else in order."""
    order = torch.arange(count) if lengths is None else torch.argsort(lengths, stable=True)
    return list(order.split(batch_size))


def _number_of_workers(split: object, workers: int | Literal["auto"]) -> int:
    if isinstance(workers, int):
        return workers
    return default_workers() if isinstance(split, SupportsWorkers) and split.decodes_files else 0


class Batches:
    """The batches of a split, epoch by epoch.

    Args:
        split: `Columns`, kept on the device if they fit; or a torch dataset whose items are dicts of
            tensors, read through a DataLoader. While items are read, the global random number generators of
            Python, numpy and torch are seeded from the seed, the epoch and the batch. Either kind of split may
            have a ``prepare``, see `dlpipe.data.columns.Prepare`.
        batch_size: examples per batch, or "full" for all of them.
        columns: names of the columns that a batch needs; others are omitted, but not before a `prepare`, which may need
            any. Empty means all.
        bucket: put sequences of similar length into one batch.
        training: reshuffle in each epoch and prepare batches for training; otherwise the order is fixed.
        workers: number of processes that read a dataset, which are kept until `close`; without effect on `Columns`,
            with a warning. "auto" is one less than there are cores, at most 8, for a dataset that decodes files
            (`dlpipe.protocols.SupportsWorkers`), and 0 for all others.
        sample_weights: (N,) float64, draw as many examples with replacement, in proportion to these weights, for each
            epoch of training; each example once if None. Not for a stream.
        drop_last: leave out the batch of an epoch that has fewer examples than the others. Not for an evaluation.
        pad_to_multiple_of: pad sequences, which `Columns` have, to a multiple of this length.
        only: (M,) the rows to use, in growing order; all if None. Not for a stream, and not in training.
        ranks: the processes that share the work. In training, each gets its part of every batch; otherwise whole
            batches in turn. A batch of which this process has no part is an empty dict.

    Attributes:
        omitted: the names of columns that batches do not have, since `columns` does not name them.
    """

    def __init__(
        self,
        split: Columns | Dataset[Any] | IterableDataset[Any],
        batch_size: int | str,
        compute: Compute,
        *,
        seed: int = 0,
        columns: Collection[str] = (),
        bucket: bool = True,
        training: bool = True,
        workers: int | Literal["auto"] = 0,
        sample_weights: Tensor | None = None,
        drop_last: bool = False,
        pad_to_multiple_of: int | None = None,
        only: Tensor | None = None,
        ranks: Ranks = Ranks(),  # noqa: B008  frozen
    ) -> None:
        self._ranks = ranks
        self._streamed = isinstance(split, IterableDataset)
        self.omitted: tuple[str, ...] = ()
        if isinstance(split, Mapping) or not (self._streamed or hasattr(split, "__len__")):
            raise InputError(
                f"this data has no examples to form batches of: its split is a {type(split).__name__}, neither "
                "dlpipe.data.Columns nor a torch dataset; choose other data, or a trainer for this kind of data"
            )
        if isinstance(split, Columns):
            if workers not in (0, "auto"):
                warnings.warn(f"num_workers = {workers} has no effect: this data is kept in memory", stacklevel=2)
            every = set(split.columns)
            split = split.select(columns) if columns and split.prepare is None else split
            self.omitted = tuple(sorted(every - set(split.columns)))
            # Of a few rows, each batch is copied: all of them would take the memory of the split.
            split = split.to(compute.device) if only is None and compute.fits(split.nbytes) else split
        self._split = split
        self._prepare: Prepare | None = getattr(split, "prepare", None)
        self._compute, self._seed, self._training = compute, seed, training
        self._workers = _number_of_workers(split, workers)
        self._reader: Reader | None = None
        self._only = only
        self._count = 0 if self._streamed else len(cast(Columns, split) if only is None else only)
        self._sample_weights = sample_weights if training else None
        self._lengths = split.lengths if bucket and isinstance(split, Columns) else None
        if self._lengths is not None and only is not None:
            self._lengths = self._lengths[only]
        if self._streamed and isinstance(batch_size, str):
            raise InputError(f'batch_size = "{batch_size}": this data is an endless stream; set a number')
        if not self._streamed and not self._count:
            raise InputError(f"a split ({type(split).__name__}) has no examples; expected at least one")
        self.batch_size = self._count if isinstance(batch_size, str) else batch_size
        self._drop_last = drop_last
        if drop_last and not self._streamed and self._count < self.batch_size:
            raise InputError(
                f"drop_last = true leaves no batch: the split has {self._count} examples, and batch_size = "
                f"{self.batch_size}; expected at most {self._count}, or drop_last = false"
            )
        if pad_to_multiple_of is not None and not (isinstance(split, Columns) and split.lengths is not None):
            raise InputError(
                f"pad_to_multiple_of = {pad_to_multiple_of}: this data has no sequences of different lengths that "
                "dlpipe pads; leave it out"
            )
        self._multiple = pad_to_multiple_of or 1
        self._has_huge_pages = False
        if training and self.batch_size < ranks.size:
            raise InputError(
                f"batch_size = {self.batch_size} is less than the number of processes, {ranks.size}, which share each "
                "batch; expected at least one example for each"
            )

    @property
    def per_epoch(self) -> int | None:
        """Number of batches per epoch; None for a stream, whose length is unknown."""
        if self._streamed:
            return None
        return self._count // self.batch_size if self._drop_last else -(-self._count // self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Return the batches of an epoch (counted from 0), starting with batch `start`."""
        batches = self._unprepared(number, start)
        return batches if self._prepare is None else self._prepared(self._prepare, batches, number, start)

    def _prepared(self, prepare: Prepare, batches: Iterator[Batch], number: int, start: int) -> Iterator[Batch]:
        generator = torch.Generator(self._compute.device)
        for index, batch in enumerate(batches, start):
            generator.manual_seed(derived_seed(self._seed, "prepare", number, index, *self._own_seed()))
            if batch:
                batch = _checked(prepare(batch, generator, self._training))
                if self._multiple > 1:
                    batch = cast(Columns, self._split).padded(batch, self._multiple)
            yield batch

    def _unprepared(self, number: int, start: int) -> Iterator[Batch]:
        """Return the batches of an epoch on the device, before they are prepared."""
        if self._streamed:
            return self._streaming(number, start)
        generator = torch.Generator().manual_seed(derived_seed(self._seed, "order", number))
        if self._sample_weights is not None:
            chosen = drawn(self._sample_weights, generator)
            lengths = None if self._lengths is None else self._lengths[chosen]
            plan = [chosen[rows] for rows in shuffled(self._count, self.batch_size, generator, lengths)]
        elif self._training:
            plan = shuffled(self._count, self.batch_size, generator, self._lengths)
        else:
            plan = self._in_order()
        if self._drop_last:
            plan = [rows for rows in plan if len(rows) == self.batch_size]
        own = [(index, self._own_rows(index, rows)) for index, rows in enumerate(plan)][start:]
        read = [(index, rows) for index, rows in own if len(rows)]
        if isinstance(self._split, Columns):
            if self._training and number and not self._has_huge_pages:  # it pays off within an epoch
                self._split.use_huge_pages()
                self._has_huge_pages = True
            batches = self._resident(self._split, [rows for _, rows in read])
        else:
            batches = self._decoded(number, read)
        return batches if len(read) == len(own) else (next(batches) if len(rows) else {} for _, rows in own)

    def _own_rows(self, index: int, rows: Tensor) -> Tensor:
        """Return the rows of a batch that this process works on."""
        if self._training:
            return self._ranks.share(rows)
        return rows if index % self._ranks.size == self._ranks.rank else rows[:0]

    def _own_seed(self) -> tuple[int, ...]:
        """Return what sets the random numbers of this process apart from others, for its part of a batch."""
        return (self._ranks.rank,) if self._training and self._ranks.rank else ()

    def rows(self) -> Iterator[Tensor]:
        """Yield the row numbers of each batch of an unshuffled epoch; for a stream, yield empty tensors forever."""
        if self._streamed:
            yield from repeat(torch.empty(0, dtype=torch.int64))
        else:
            yield from self._in_order()

    def _in_order(self) -> list[Tensor]:
        """Return the rows of each batch of an unshuffled epoch."""
        plan = in_order(self._count, self.batch_size, self._lengths)
        return plan if self._only is None else [self._only[places] for places in plan]

    def _resident(self, split: Columns, plan: Sequence[Tensor]) -> Iterator[Batch]:
        if split.device.type == "cpu" and self._compute.device.type == "cpu":
            for rows in plan:
                yield split.batch(rows, multiple=self._multiple)
        elif split.device == self._compute.device:
            # All row numbers are copied at once; a copy per batch would cost more than the batch.
            on_device = torch.cat(list(plan)).to(split.device).split([len(rows) for rows in plan])
            for rows, device_rows in zip(plan, on_device, strict=True):
                yield split.batch(rows, device_rows, multiple=self._multiple)
        else:
            for rows in plan:
                yield self._to_device(split.batch(rows, multiple=self._multiple))

    def _streaming(self, epoch: int, start: int) -> Iterator[Batch]:
        """Yield the batches of a stream from `start` on.

        In training, the ranks deal its examples out in turn, and agree after each batch on whether there was one: a
        rank without an example does not know whether another one has one. For an evaluation, each reads all.
        """
        ranks = self._ranks if self._training else Ranks()
        stream = cast("IterableDataset[Any]", self._split)
        seed = (self._seed, "stream", epoch)
        parts = StreamParts(stream, self.batch_size, rank=ranks.rank, ranks=ranks.size, start=start, seed=seed)
        reader, rng = self._new_reader(parts), IsolatedRNG(0)
        read = reader.read()
        try:
            for number in count(start):
                missing, found = len(parts.numbers(number)), []
                while missing:
                    with rng:
                        part = next(read, None)
                    if part is None:
                        break
                    found.append(part)
                    missing -= len(part[0])
                size = sum(len(numbers) for numbers, _ in found)
                together = size if ranks.size == 1 else int(ranks.total(torch.tensor(size)))
                if together < (self.batch_size if self._drop_last else 1):
                    return
                own = found and (self._training or number % self._ranks.size == self._ranks.rank)
                yield joined([(numbers, self._to_device(part)) for numbers, part in found]) if own else {}
        finally:
            reader.close()

    def _decoded(self, epoch: int, plan: Sequence[tuple[int, Tensor]]) -> Iterator[Batch]:
        """Yield the batches of a dataset, given their numbers and rows.

        Its workers are kept for the next epoch. If a pass begins while another one goes on, it gets workers of its own.
        """
        if self._reader is None:
            self._reader = self._new_reader(WholeBatches(cast("Dataset[Any]", self._split)))
        shared = not self._reader.busy
        reader = self._reader if shared else self._new_reader(WholeBatches(cast("Dataset[Any]", self._split)))
        seed = (self._seed, "items", epoch, *self._own_seed())
        try:
            for batch in reader.read(((*seed, number), rows.tolist()) for number, rows in plan):
                yield self._to_device(batch)
        finally:
            if not shared:
                reader.close()

    def close(self) -> None:
        """End the worker processes; a later epoch starts new ones."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _new_reader(self, dataset: Dataset[Any]) -> Reader:
        return Reader(dataset, self._workers, pin_memory=self._compute.device.type == "cuda")

    def _to_device(self, batch: Batch) -> Batch:
        """Move all columns to the device, except lengths."""
        if not isinstance(batch, Mapping):
            raise InputError(
                f"the items of a split make a batch of type {type(batch).__name__}; expected each item to be a dict of "
                "tensors by the name of their column"
            )
        return on_device(_checked(batch), self._compute.device)


def _checked(batch: Batch) -> Batch:
    """Return a batch of tensors of which none has a reserved name."""
    if problem := reserved_name(batch):
        raise InputError(problem)
    for name, column in batch.items():
        if not isinstance(column, Tensor):
            raise InputError(
                f"the column {name!r} of a batch is of type {type(column).__name__}; expected tensors or numbers in "
                "the items of a split, and tensors from its prepare()"
            )
    return batch


class EndlessBatches:
    """The batches of a training split, epoch after epoch, grouped by step, with a resumable position.

    Args:
        per_step: batches per step; the last step of an epoch may have fewer.
    """

    def __init__(self, batches: Batches, per_step: int) -> None:
        self._batches, self._per_step = batches, per_step
        self._epoch = 0
        self._seen = 0  # batches of this epoch

    @property
    def steps_per_epoch(self) -> int | None:
        """Number of steps per epoch; None for a stream."""
        per_epoch = self._batches.per_epoch
        return None if per_epoch is None else -(-per_epoch // self._per_step)

    def __iter__(self) -> Iterator[list[Batch]]:
        """Yield the batches of each step forever, from the current position on.

        The position is advanced before the batches of a step are yielded.

        Raises:
            InputError: a stream has no examples in an epoch.
        """
        while True:
            batches = self._batches.epoch(self._epoch, self._seen)
            while parts := list(islice(batches, self._per_step)):
                self._seen += len(parts)
                if self._seen == self._batches.per_epoch:
                    self._epoch, self._seen = self._epoch + 1, 0
                yield parts
            if self._batches.per_epoch is None:
                if not self._seen:
                    raise InputError(
                        f"the training split makes no batch in epoch {self._epoch}; expected at least one example, and "
                        "as many as batch_size says if drop_last = true"
                    )
                self._epoch, self._seen = self._epoch + 1, 0

    def close(self) -> None:
        """End the worker processes."""
        self._batches.close()

    def state_dict(self) -> dict[str, int]:
        """Return the position."""
        return {"epoch": self._epoch, "seen": self._seen}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restore the position.

        Raises:
            ValueError: there is no such position.
            TypeError: a number is not whole.
        """
        epoch, seen = (operator.index(state[name]) for name in ("epoch", "seen"))
        if epoch < 0 or seen < 0 or (self._batches.per_epoch is not None and seen >= self._batches.per_epoch):
            raise ValueError(f"batch {seen} of epoch {epoch}; an epoch has {self._batches.per_epoch} batches")
        self._epoch, self._seen = epoch, seen
