from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest

from dlpipe.errors import RunFolderError
from dlpipe.runs import folder as runs
from dlpipe.runs.folder import PROVENANCE, RESOLVED, RunFolder, neighbors, new_folder, newest_first, started


def test_a_missing_run_folder_is_named_with_its_neighbors(tmp_path):
    (tmp_path / "2026-01-02").mkdir()

    with pytest.raises(RunFolderError, match=r"there is no such run folder; there are 2026-01-02"):
        RunFolder.open(tmp_path / "latest")


def test_a_missing_folder_is_named_with_those_of_similar_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/vae-digits", "runs/vae-mnist", "runs/dqn", "exported"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "vae.toml").touch()

    assert neighbors(Path("runs/vae-digitz/latest")) == "; there are vae-digits, vae-mnist"
    assert neighbors(Path("vae-digitz")) == "; there are vae-digits, vae-mnist"
    assert neighbors(Path("exportd")) == "; there are exported"
    assert neighbors(Path("x"), Path("elsewhere")) == "; there are exported, runs"


def test_a_name_is_one_in_the_folder_of_runs_if_there_is_no_such_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/vae", "exported"):
        (tmp_path / name).mkdir(parents=True)

    assert RunFolder.path_of("vae") == Path("runs/vae")
    for name in ("exported", "nothing", "runs/vae", "../exported"):
        assert RunFolder.path_of(name) == Path(name)
    (tmp_path / "vae").mkdir()
    assert RunFolder.path_of("vae") == Path("vae")


def test_a_stage_without_a_name_is_the_run_itself(tmp_path):
    assert RunFolder(tmp_path).stage("") == tmp_path
    assert RunFolder(tmp_path).stage("tag") == tmp_path / "stages" / "tag"


def test_the_commands_for_a_run_can_be_pasted():
    assert RunFolder(Path("my runs/points/2026")).command("resume") == "dlpipe resume 'my runs/points/2026'"


def test_two_processes_that_make_a_folder_at_once_get_one_each(tmp_path, monkeypatch):
    letters = iter("aaaaaaaabbbb")
    monkeypatch.setattr(time, "strftime", lambda form: "now")
    monkeypatch.setattr(runs.secrets, "choice", lambda known: next(letters))

    folders = [new_folder(tmp_path / "points") for _ in range(2)]

    assert [folder.name for folder in folders] == ["now-aaaa", "now-bbbb"]
    assert all(folder.is_dir() for folder in folders)


def test_the_folder_of_a_pipelines_runs_stands_for_the_latest(tmp_path):
    run = tmp_path / "points" / "2026"
    run.mkdir(parents=True)
    assert RunFolder.latest_in(run.parent) == run.parent  # which is an error when it is opened

    (run / RESOLVED).touch()
    (run.parent / "latest").symlink_to("2026")

    assert RunFolder.open(RunFolder.latest_in(run.parent)).path == run.resolve()
    for path in (run, run.parent / "latest", tmp_path, tmp_path / "nothing"):
        assert RunFolder.latest_in(path) == path


def test_after_a_run_is_discarded_the_newest_other_run_is_the_latest(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / RESOLVED).touch()
    (tmp_path / "sweeps").mkdir()
    for name, began in (("a", "2026-05-04T02:00:00+0000"), ("b", "2026-05-04T09:00:00+0900"), ("c", "")):
        (tmp_path / name / PROVENANCE).write_text(f'{{"time": "{began}"}}')

    RunFolder(tmp_path / "c").discard()

    assert (tmp_path / "latest").readlink().name == "a"


def test_the_newest_run_is_the_one_that_began_last_whatever_its_name_says(tmp_path):
    began = {
        "2026-10-25_023000-aaaa": "2026-10-25T02:30:00+0200",
        "2026-10-25_020500-bbbb": "2026-10-25T02:05:00.250+01:00",  # 35 minutes later: the clock was set back
        "2026-10-25_080500-cccc": "2026-10-25T08:05:00+0900",
        "2026-10-24_210500-dddd": "2026-10-24T21:05:00-0400",
    }
    for name, when in began.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / PROVENANCE).write_text(f'{{"time": "{when}"}}')

    found = newest_first(tmp_path / name for name in began)

    assert [path.name[-4:] for path in found] == ["bbbb", "dddd", "aaaa", "cccc"]


@pytest.mark.parametrize("provenance", ["{", "{}", '{"time": 3}', '{"time": "now"}'])
def test_a_run_that_does_not_say_when_it_began_is_as_old_as_its_folder(tmp_path, provenance):
    (tmp_path / PROVENANCE).write_text(provenance)
    os.utime(tmp_path, (5, 7))

    assert started(tmp_path) == 7
    assert started(tmp_path / "gone") == 0


def test_a_run_is_unlocked_when_nobody_finds_it_any_more_and_before_it_is_removed(tmp_path):
    run, left = tmp_path / "points" / "2026", []
    run.mkdir(parents=True)

    with contextlib.ExitStack() as held:
        held.enter_context(RunFolder(run).lock())
        held.callback(lambda: left.extend(path.name for path in run.parent.iterdir()))
        RunFolder(run).discard(held.close)

    assert left == [".2026"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_latest_run_is_a_warning(tmp_path):
    for name in ("one", "two", "latest"):  # as a copy that follows links leaves it
        (tmp_path / name).mkdir()
        (tmp_path / name / RESOLVED).touch()

    with pytest.warns(UserWarning, match=r"latest could not be set to one: Is a directory; remove it"):
        RunFolder(tmp_path / "two").discard()


@pytest.mark.parametrize("linked", [True, False])
def test_after_the_only_run_is_discarded_nothing_is_left(tmp_path, linked):
    run = tmp_path / "points" / "2026"
    run.mkdir(parents=True)
    (run / RESOLVED).touch()
    if linked:
        (run.parent / "latest").symlink_to("2026")

    RunFolder(run).discard()

    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_an_error_and_no_endless_loop(tmp_path):
    (tmp_path / "points").touch()

    with pytest.raises(FileExistsError):
        new_folder(tmp_path / "points")


def test_the_time_that_a_run_was_running_is_summed_up(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    run = RunFolder(tmp_path)

    for state, seconds in (("running", 5.0), ("preempted", 100.0), ("running", 7.0), ("finished", 0.0)):
        run.set_status(state)
        now[0] += seconds

    assert run.status()["seconds"] == 12.0
