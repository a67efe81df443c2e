from __future__ import annotations

import time

import pytest

from dlpipe.errors import RunFolderError
from dlpipe.runs import folder as runs
from dlpipe.runs.folder import RESOLVED, RunFolder, new_folder, read_json, write_json


def test_json_is_written_whole_and_read_back(tmp_path):
    write_json(tmp_path / "status.json", {"state": "finished", "reason": "é"})

    assert read_json(tmp_path / "status.json") == {"state": "finished", "reason": "é"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"is not a run folder: it has no data.json; expected a folder created by `dlpipe run`"),
        (b"{", r"data.json cannot be read: Expecting property name"),
        (b"\xff", r"data.json cannot be read: 'utf-8' codec can't decode"),
        (b"[1]", r"data.json holds a list; expected an object"),
        (b"[" * 100_000, r"data.json cannot be read"),
    ],
)
def test_a_file_of_a_run_that_cannot_be_read_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "data.json").write_bytes(content)

    with pytest.raises(RunFolderError, match=message):
        read_json(tmp_path / "data.json")


def test_a_missing_run_folder_is_named_with_its_neighbours(tmp_path):
    (tmp_path / "2026-01-02").mkdir()

    with pytest.raises(RunFolderError, match=r"there is no such run folder; there are 2026-01-02"):
        RunFolder.open(tmp_path / "latest")


def test_a_stage_without_a_name_is_the_run_itself(tmp_path):
    assert RunFolder(tmp_path).stage("") == tmp_path
    assert RunFolder(tmp_path).stage("tag") == tmp_path / "stages" / "tag"


def test_two_processes_that_make_a_folder_at_once_get_one_each(tmp_path, monkeypatch):
    letters = iter("aaaaaaaabbbb")
    monkeypatch.setattr(time, "strftime", lambda form: "now")
    monkeypatch.setattr(runs.secrets, "choice", lambda known: next(letters))

    folders = [new_folder(tmp_path / "points") for _ in range(2)]

    assert [folder.name for folder in folders] == ["now-aaaa", "now-bbbb"]
    assert all(folder.is_dir() for folder in folders)


def test_after_a_run_is_discarded_the_newest_other_run_is_the_latest(tmp_path):
    for name in ("2025", "2026"):
        (tmp_path / name).mkdir()
        (tmp_path / name / RESOLVED).touch()
    (tmp_path / "sweeps").mkdir()

    RunFolder(tmp_path / "2026").discard()

    assert (tmp_path / "latest").readlink().name == "2025"


def test_a_file_in_the_place_of_a_folder_is_an_error_and_no_endless_loop(tmp_path):
    (tmp_path / "points").touch()

    with pytest.raises(FileExistsError):
        new_folder(tmp_path / "points")
