import os
import tempfile

import pytest
import torch

from dlpipe.errors import InputError
from dlpipe_rl import frame_storage
from dlpipe_rl.frame_storage import FrameStorage, size


def test_storage_on_the_disk_is_used_like_memory_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    room = FrameStorage((5, 3), torch.uint8, "disk", "")

    room.tensor[2, 1] = 7

    assert room.tensor.shape == (5, 3)
    assert room.tensor.sum() == 7
    assert room.description == "15 bytes in a scratch file on the disk"
    assert not os.listdir(tmp_path)  # noqa: PTH208


def test_what_does_not_fit_into_memory_goes_to_the_disk(monkeypatch):
    monkeypatch.setattr(frame_storage, "available_memory", lambda device: 1000)

    assert FrameStorage((900,), torch.uint8, "auto", "").description == "900 bytes in a scratch file on the disk"
    assert FrameStorage((700,), torch.uint8, "auto", "").description == "700 bytes in memory"


def test_the_memory_limit_of_a_job_counts(monkeypatch, tmp_path):
    for name, text in {"memory.max": "1000", "memory.current": "400", "memory.stat": "inactive_file 0"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("dlpipe.compute.CONTROL_GROUP", tmp_path)

    assert FrameStorage((500,), torch.uint8, "auto", "").description == "500 bytes in a scratch file on the disk"


def test_more_than_the_free_memory_is_refused_with_both_sizes(monkeypatch):
    monkeypatch.setattr(frame_storage, "available_memory", lambda device: 1000)

    with pytest.raises(InputError, match=r"^3.6 kB are needed, and 1 kB of memory are free; buy some"):
        FrameStorage((900,), torch.float32, "memory", "buy some")


def test_a_disk_that_is_too_small_is_refused(monkeypatch):
    with pytest.raises(InputError, match=r"e\+06 GB are needed; .* of disk .* are free; less"):
        FrameStorage((10**15,), torch.uint8, "disk", "less")


@pytest.mark.parametrize(
    ("nbytes", "words"),
    [(7, "7 bytes"), (1000, "1 kB"), (7_056_000_000, "7.06 GB"), (0, "0 bytes"), (3e12, "3e+03 GB")],
)
def test_sizes_are_formatted_with_their_unit(nbytes, words):
    assert size(nbytes) == words
