"""The files in a folder that are items."""

from __future__ import annotations

import warnings

import pytest

from dlpipe.data.item_files import expand_folder, files_below
from dlpipe.errors import InputError


def test_the_files_of_all_subfolders_are_listed_in_order_and_the_others_counted(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("b.wav", "a/c.WAV", "notes", "a/x.txt", ".hidden.wav"):
        (tmp_path / name).touch()

    with pytest.warns(UserWarning, match=r"left out 2 of 4 files: no sounds \(.*no ending.*\); expected .wav"):
        found = files_below(tmp_path, (".wav",), "sound")

    assert found == [tmp_path / "a" / "c.WAV", tmp_path / "b.wav"]


def test_only_a_folder_is_expanded(tmp_path):
    for name in ("b.wav", "a.wav"):
        (tmp_path / name).touch()

    assert expand_folder(str(tmp_path), (".wav",), "sound") == [f"{tmp_path}/a.wav", f"{tmp_path}/b.wav"]
    assert expand_folder("no/such.png", (".wav",), "sound") == ["no/such.png"]


def test_nothing_is_said_where_nothing_is_left_out(tmp_path):
    (tmp_path / "b.wav").touch()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert files_below(tmp_path, (".wav",), "sound") == [tmp_path / "b.wav"]


def test_a_folder_without_such_files_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"this folder contains no sound \(.wav\); it is empty"):
        files_below(tmp_path, (".wav",), "sound")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"contains no sound \(.wav\); there are 1 files of other kinds"):
        files_below(tmp_path, (".wav",), "sound")
