"""Processes that read data: they stay for all epochs, change no result, say what went wrong, and end with the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from dlpipe.compute import Compute
from dlpipe.data import Batches, Columns, EndlessBatches, worker_process
from dlpipe.errors import ComponentError, DataError, errors_in

CPU = Compute(torch.device("cpu"))


class Items(Dataset):
    """Seven items that know which process read them."""

    decodes_files = True

    def __len__(self):
        return 7

    def __getitem__(self, row):
        return {"number": torch.tensor(row), "process": torch.tensor(os.getpid())}


class Broken(Items):
    """Items of which one raises `error`."""

    def __init__(self, error):
        self.error = error

    def __getitem__(self, row):
        if row == 5:
            raise self.error
        return super().__getitem__(row)


class BrokenStream(IterableDataset):
    def __iter__(self):
        return (Broken(DataError("cat/5.png cannot be read"))[row] for row in range(7))


class PeculiarError(Exception):
    """An exception that cannot be built again from its arguments."""

    def __init__(self, number, text):
        super().__init__(f"{text} {number}")


def processes(batches, epoch=0):
    return {int(process) for batch in batches.epoch(epoch) for process in batch["process"]}


def numbers(batches, epoch=0, start=0):
    return [batch["number"].tolist() for batch in batches.epoch(epoch, start)]


def ended(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def wait_for(condition):
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def read():
    """Batches that two processes read."""
    batches = Batches(Items(), 2, CPU, workers=2)
    yield batches
    batches.close()


def test_workers_stay_until_they_are_closed(read):
    first = processes(read)

    assert len(first) == 2
    assert os.getpid() not in first
    assert processes(read, 1) == first
    read.close()
    assert wait_for(lambda: all(map(ended, first)))
    assert len(processes(read) - first) == 2


def test_an_epoch_that_was_left_and_one_within_another_are_complete(read):
    expected = [numbers(Batches(Items(), 2, CPU), epoch) for epoch in range(3)]

    list(islice(read.epoch(0), 1))
    assert numbers(read, 1) == expected[1]
    outer = read.epoch(2)
    first = next(outer)["number"].tolist()
    assert numbers(read, 0) == expected[0]
    assert [first, *(batch["number"].tolist() for batch in outer)] == expected[2]
    assert numbers(read, 1, start=2) == expected[1][2:]


def test_a_signal_to_all_processes_does_not_end_a_worker(read):
    for number, process in zip([signal.SIGINT, signal.SIGTERM], sorted(processes(read)), strict=True):
        os.kill(process, signal.SIGUSR1)
        if number == signal.SIGTERM:  # from anyone but the main process
            subprocess.run(["kill", "-TERM", str(process)], check=True)
        else:
            os.kill(process, number)

    before = processes(read, 1)
    assert len(before) == 2
    assert processes(read, 2) == before


def test_the_main_process_can_end_a_worker():
    reading = iter(EndlessBatches(Batches(Items(), 2, CPU, workers=1), 1))
    (batch,) = next(reading)
    os.kill(worker := int(batch["process"][0]), signal.SIGTERM)

    assert wait_for(lambda: os.waitpid(worker, os.WNOHANG)[0] == worker)


@pytest.mark.parametrize("split", [Broken(DataError("cat/5.png cannot be read")), BrokenStream()])
def test_an_error_of_dlpipe_arrives_as_it_was_raised(split):
    with pytest.raises(DataError) as caught:
        numbers(Batches(split, 2, CPU, training=False, workers=1))

    assert str(caught.value) == "cat/5.png cannot be read"
    assert "in __getitem__" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("label"), "[data] KeyError: 'label' ("),
        (PeculiarError(3, "no"), "[data] RuntimeError: PeculiarError: no 3 ("),
    ],
)
def test_any_other_error_names_the_line_of_the_dataset(error, message):
    with pytest.raises(ComponentError) as caught, errors_in("[data]"):
        numbers(Batches(Broken(error), 2, CPU, workers=1))

    assert str(caught.value).startswith(message)
    assert "test_workers.py:" in str(caught.value)
    assert "in __getitem__" in str(caught.value)


@pytest.mark.parametrize(("cores", "expected"), [(1, 0), (2, 1), (6, 5), (64, 8)])
def test_automatic_workers_leave_a_core_and_are_at_most_eight(monkeypatch, cores, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(cores))

    assert worker_process.default_workers() == expected


def test_only_data_that_decodes_files_has_workers_by_itself(monkeypatch, recwarn):
    class Quick(Items):
        decodes_files = False

    monkeypatch.setattr("dlpipe.data.batches.default_workers", lambda: 1)
    assert os.getpid() not in processes(Batches(Items(), 2, CPU, workers="auto"))
    assert processes(Batches(Quick(), 2, CPU, workers="auto")) == {os.getpid()}
    Batches(Columns({"x": torch.arange(3)}), 2, CPU, workers="auto")
    assert not [each for each in recwarn if "num_workers" in str(each.message)]


@pytest.mark.slow
def test_a_killed_main_process_takes_its_workers_with_it(tmp_path):
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_workers import Batches, CPU, Items, processes
batches = Batches(Items(), 2, CPU, workers=2)
print(*processes(batches), flush=True)
time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as main:
        workers = [int(each) for each in main.stdout.readline().split()]
        main.kill()

    assert len(workers) == 2
    assert wait_for(lambda: all(map(ended, workers)))
