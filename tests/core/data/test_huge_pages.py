"""Large pages change where data is found, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.data import huge_pages
from dlpipe.data.batches import Batches
from dlpipe.data.columns import Columns, Ragged
from dlpipe.data.huge_pages import LARGE, use_huge_pages


@pytest.fixture
def moved(monkeypatch):
    """Return the addresses and sizes that Linux is asked about; it agrees."""
    asked = []

    def madvise(first, size, advice):
        asked.append((first.value, size.value, advice))
        return 0

    monkeypatch.setattr(huge_pages, "_madvise", lambda: madvise)
    return asked


def large() -> torch.Tensor:
    return torch.arange(LARGE // 4, dtype=torch.float32).view(-1, 5)


def test_whole_pages_of_a_large_tensor_are_moved(moved):
    tensor = large()

    assert use_huge_pages(tensor)

    [(first, size, advice)] = moved
    assert advice == 25
    assert first % 4096 == size % 4096 == 0
    assert 0 <= first - tensor.data_ptr() < 4096
    assert 0 <= tensor.data_ptr() + tensor.nbytes - (first + size) < 4096


def test_small_tensors_and_parts_of_others_stay(moved):
    assert not use_huge_pages(large()[:-1])
    assert not use_huge_pages(torch.zeros(5, LARGE).t())
    assert not use_huge_pages(torch.zeros(LARGE, device="meta"))
    assert not moved


@pytest.mark.parametrize("answer", [None, lambda *arguments: -1])
def test_a_system_without_large_pages_is_no_error(answer, monkeypatch):
    monkeypatch.setattr(huge_pages, "_madvise", lambda: answer)

    assert not use_huge_pages(large())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this request")
def test_the_content_stays_the_same():
    tensor = large()
    address = tensor.data_ptr()

    found = use_huge_pages(tensor)

    assert_close(tensor, large(), rtol=0, atol=0)
    assert tensor.data_ptr() == address
    if found:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        assert int(next(line for line in lines if line.startswith("AnonHugePages")).split()[1]) >= 4096


def test_training_asks_once_when_its_second_epoch_begins(moved):
    split = Columns({"images": large(), "tokens": Ragged(large(), torch.full((len(large()),), 1)), "targets": large()})
    compute = Compute(torch.device("cpu"))
    batches = Batches(split, 100_000, compute)

    next(batches.epoch(0))
    assert not moved
    next(batches.epoch(1))
    next(batches.epoch(2))
    assert len(moved) == 3

    next(Batches(split, 100_000, compute, training=False).epoch(1))
    assert len(moved) == 3
