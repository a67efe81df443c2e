"""A stream gives each example once per epoch, in one order, however many workers and ranks read it."""

from __future__ import annotations

import random
from itertools import chain, count, islice

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset, get_worker_info

from dlpipe.compute import Compute
from dlpipe.data import Batches, EndlessBatches, worker_process
from dlpipe.data.worker_datasets import torch_worker
from dlpipe.ranks import Ranks

CPU = Compute(torch.device("cpu"))


def example(number):
    """Return an example with a number from each global generator."""
    return {"number": torch.tensor([number, random.random(), np.random.rand(), float(torch.rand(()))])}


class Plain(IterableDataset):
    """A stream of `length` examples that knows nothing of workers."""

    def __init__(self, length):
        self.length, self.read = length, []

    def examples(self, numbers):
        for number in numbers:
            if number >= self.length:
                return
            self.read.append(number)
            yield example(number)

    def __iter__(self):
        return self.examples(count())


class Seekable(Plain):
    """The same examples, without reading those in between."""

    def shard(self, first, step):
        return self.examples(count(first, step))


class Distributing(Plain):
    """A stream that distributes its examples over the workers, as the documentation of torch recommends."""

    def __iter__(self):
        worker = get_worker_info()
        return self.examples(count(worker.id, worker.num_workers) if worker else count())


class InTurn:
    """A DataLoader whose workers are iterators in this process, so that a test needs no processes."""

    def __init__(self, dataset, num_workers=0, **_):
        self.dataset, self.num_workers = dataset, num_workers

    def __iter__(self):
        readers = {worker: iter(self.dataset) for worker in range(self.num_workers or 1)}
        while readers:
            for worker, reader in list(readers.items()):
                if self.num_workers:
                    torch_worker._worker_info = torch_worker.WorkerInfo(worker, self.num_workers, 0, self.dataset)
                part = next(reader, None)
                torch_worker._worker_info = None
                if part is None:
                    del readers[worker]
                else:
                    yield part


class Counted(Ranks):
    """A rank that knows how many examples each batch has, as the sum over all ranks tells."""

    lengths = None

    def total(self, tensor):
        return torch.tensor(next(self.lengths))


def ranks_of(size, length, batch_size, start=0):
    """Return the ranks that read a stream of `length` examples from batch `start` on."""
    found = [Counted(rank, size) for rank in range(size)]
    for each in found:
        lengths = (max(0, min(batch_size, length - at)) for at in count(start * batch_size, batch_size))
        object.__setattr__(each, "lengths", lengths)
    return found if size > 1 else [Ranks()]


def read(stream, batch_size=4, epoch=1, start=0, **options):
    return [
        batch["number"].tolist() if batch else []
        for batch in Batches(stream, batch_size, CPU, seed=3, **options).epoch(epoch, start)
    ]


@pytest.mark.parametrize(
    "kind", [Seekable, *(pytest.param(each, marks=pytest.mark.slow) for each in (Plain, Distributing))]
)
@pytest.mark.parametrize("size", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_each_example_comes_once_in_one_order_for_any_number_of_workers_and_ranks(monkeypatch, kind, size, workers):
    monkeypatch.setattr(worker_process, "DataLoader", InTurn)
    for length in (0, 1, 5, 8, 11):
        for batch_size in {size, 4}:
            whole = read(Plain(length), batch_size)
            assert [int(each[0]) for batch in whole for each in batch] == list(range(length))
            for start in {0, 1, len(whole)}:
                parts = [
                    read(kind(length), batch_size, start=start, workers=workers, ranks=ranks)
                    for ranks in ranks_of(size, length, batch_size, start)
                ]
                found = [sorted(chain.from_iterable(batch)) for batch in zip(*parts, strict=True)]
                assert found == whole[start:]


@pytest.mark.parametrize(
    "workers", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", [Seekable, Distributing])
def test_worker_processes_give_what_one_process_gives(kind, workers):
    assert read(kind(13), start=1, workers=workers) == read(Plain(13))[1:]


def test_ranks_deal_the_examples_of_each_batch_in_turn():
    first, second = (
        [[int(each[0]) for each in batch] for batch in read(Seekable(8), 3, ranks=ranks)] for ranks in ranks_of(2, 8, 3)
    )

    assert first == [[0, 2], [4], [6]]
    assert second == [[1], [3, 5], [7]]


def test_a_rank_without_an_example_in_the_last_batch_has_an_empty_one():
    first, second = (read(Seekable(7), 2, ranks=ranks) for ranks in ranks_of(2, 7, 2))

    assert [len(batch) for batch in first] == [1, 1, 1, 1]
    assert [len(batch) for batch in second] == [1, 1, 1, 0]


@pytest.mark.parametrize("size", [1, 2])
def test_a_seekable_stream_reads_only_what_is_asked_for(size):
    stream, rank = Seekable(100), ranks_of(size, 100, 4, start=20)[-1]

    read(stream, start=20, ranks=rank)

    assert stream.read == list(range(80 + size - 1, 100, size))


def test_the_parts_of_an_endless_stream_have_no_end():
    steps = iter(EndlessBatches(Batches(Seekable(10**6), 4, CPU, ranks=ranks_of(2, 10**6, 4)[1]), 1))

    found = [int(number) for (batch,) in islice(steps, 5) for number in batch["number"][:, 0]]

    assert found == list(range(1, 20, 2))


def test_a_stream_with_an_end_continues_with_the_next_epoch_from_any_position():
    def steps():
        return EndlessBatches(Batches(Seekable(9), 4, CPU, seed=1), 2)

    whole = [[batch["number"].tolist() for batch in step] for step in islice(steps(), 6)]
    for taken in range(6):
        first, second = steps(), steps()
        list(islice(first, taken))
        second.load_state_dict(first.state_dict())
        assert [[batch["number"].tolist() for batch in step] for step in islice(second, 6 - taken)] == whole[taken:]


def test_what_a_stream_draws_once_is_the_same_for_all_its_parts(monkeypatch):
    class Shuffled(Seekable):
        def shard(self, first, step):
            order = torch.randperm(self.length).tolist()
            return ({"number": torch.tensor([order[number]])} for number in range(first, self.length, step))

    monkeypatch.setattr(worker_process, "DataLoader", InTurn)
    whole = read(Shuffled(13))

    assert read(Shuffled(13), workers=3) == whole
    assert read(Shuffled(13), workers=2, start=1) == whole[1:]
    assert read(Shuffled(13), epoch=2) != whole
