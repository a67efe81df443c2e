"""What appears on disk whole, or not at all."""

from __future__ import annotations

import pytest

from dlpipe.errors import DlpipeError
from dlpipe.runs.atomic import appearing_folder


def test_of_two_that_write_a_folder_at_the_same_time_the_first_to_end_has_it_and_no_file_is_mixed(tmp_path):
    with (
        pytest.raises(DlpipeError, match="out cannot be written: Directory not empty"),
        appearing_folder(tmp_path / "out") as slow,
    ):
        (slow / "slow.txt").touch()
        with appearing_folder(tmp_path / "out") as fast:  # as in a container, with the same process number
            (fast / "fast.txt").touch()

    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["out", "out/fast.txt"]
