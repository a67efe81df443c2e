"""What appears on disk whole, or not at all."""

from __future__ import annotations

import pytest

from dlpipe.errors import DlpipeError
from dlpipe.runs.atomic import appearing_folder


def write_two(folder):
    """Write a folder in two places at the same time, as two processes with the same number in different containers."""
    with appearing_folder(folder) as slow:
        (slow / "slow.txt").touch()
        with appearing_folder(folder) as fast:
            (fast / "fast.txt").touch()


def test_the_first_of_two_to_complete_a_folder_has_it_and_their_files_are_not_mixed(tmp_path):
    with pytest.raises(DlpipeError, match="out cannot be written: Directory not empty"):
        write_two(tmp_path / "out")

    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["out", "out/fast.txt"]
