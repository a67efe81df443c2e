"""Digests of files: by content, and not read again while nothing has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from dlpipe.runs.file_digests import file_digests


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files that changed long ago, as far as the manifest can see, and an empty cache."""
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(time, "time_ns", lambda: 10**19)
    found = [tmp_path / "data" / name for name in ("one", "two")]
    found[0].parent.mkdir()
    for path in found:
        path.write_text(path.name)
    return found


@pytest.fixture
def read(monkeypatch):
    """Return the names of the files that are read."""
    names, opened = [], Path.open

    def noted(self, mode="r", *arguments, **options):
        if mode == "rb" and self.parent.name == "data":
            names.append(self.name)
        return opened(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", noted)
    return names


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_files_are_read_once_as_long_as_nothing_changes(files, read):
    first, second = file_digests(files), file_digests(files)

    assert first == second == {path: digest(path.name) for path in files}
    assert sorted(read) == ["one", "two"]


def test_a_change_of_equal_size_and_time_of_modification_is_seen(files, read):
    times = files[0].stat()
    file_digests(files)
    files[0].write_text("ONE")
    os.utime(files[0], ns=(times.st_atime_ns, times.st_mtime_ns))

    assert file_digests(files)[files[0]] == digest("ONE")
    assert sorted(read) == ["one", "one", "two"]


def test_a_file_that_has_just_changed_is_read_again(files, read, monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: files[0].stat().st_ctime_ns + 1_000_000_000)

    file_digests(files)
    file_digests(files)

    assert sorted(read) == ["one", "one", "two", "two"]


@pytest.mark.parametrize("content", [b"{", b"[1]", b'{"one": 3, "two": [1, 2]}', b"\xff", b"[" * 100_000])
def test_a_damaged_manifest_costs_only_time(files, content):
    file_digests(files)
    (manifest,) = (files[0].parents[1] / "cache" / "digests").iterdir()
    manifest.write_bytes(content)

    assert file_digests(files) == {path: digest(path.name) for path in files}


def test_a_cache_that_cannot_be_written_costs_only_time(files):
    (files[0].parents[1] / "cache").write_text("a file")

    assert file_digests(files) == {path: digest(path.name) for path in files}


def test_no_files_have_no_digests():
    assert file_digests([]) == {}


def test_data_sets_in_other_folders_have_manifests_of_their_own(files, read):
    moved = shutil.copytree(files[0].parent, files[0].parents[1] / "moved")

    assert list(file_digests(sorted(moved.iterdir())).values()) == list(file_digests(files).values())
    assert len(list((files[0].parents[1] / "cache" / "digests").iterdir())) == 2
