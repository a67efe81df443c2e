from __future__ import annotations

import json
import os
import time

import pytest

from dlpipe.errors import RunFolderError
from dlpipe.runs.cleanup import removable, remove, size_of
from dlpipe.runs.folder import RESOLVED
from dlpipe.runs.listing import run_folders, summarize

UNJUDGED = {"metric": "", "goal": "", "monitor": "", "monitor_goal": "max", "total_steps": None}


@pytest.fixture
def reasons(tmp_path):
    """Return why runs can be deleted, by folder."""

    def reasons(**options) -> dict[str, str]:
        runs = tmp_path / "runs"
        found = removable(runs, [summarize(path) for path in run_folders(runs)], **options)
        return {removal.path.name: removal.reason for removal in found}

    return reasons


def test_each_reason_is_found(make_run, reasons):
    make_run("digits/1-fast", fast=True)
    make_run("digits/2-failed", "failed")
    make_run("digits/3-stale", "running", checkpoint=5)
    make_run("digits/4-other", "interrupted", checkpoint=5, resolved='name = "digits"\nseed = 2\n')
    make_run("digits/5-done")
    make_run("digits/6-later", "preempted", checkpoint=5)

    assert reasons() == {"1-fast": "fast", "2-failed": "no-checkpoint", "3-stale": "superseded"}
    assert reasons(name="words") == {}


def test_a_fast_run_supersedes_nothing(make_run, reasons):
    make_run("digits/1-stopped", "preempted", checkpoint=5)
    make_run("digits/2-fast", fast=True)

    assert reasons() == {"2-fast": "fast"}


def test_what_is_later_is_so_in_any_time_zone(make_run, reasons):
    make_run("digits/2026-05-04_090000-aaaa", "failed", checkpoint=5, began="2026-05-04T09:00:00+0900")
    make_run("digits/2026-05-04_020000-bbbb", began="2026-05-04T02:00:00+0000")
    make_run("digits/2026-05-04_030000-cccc", "failed", checkpoint=5, began="2026-05-04T03:00:00+0000")

    assert reasons() == {"2026-05-04_090000-aaaa": "superseded"}


def test_a_checkpoint_of_a_stage_is_one(make_run, reasons):
    make_run("digits/a", "failed", stages={"tune": UNJUDGED})
    make_run(
        "digits/b",
        "failed",
        checkpoint=5,
        stages={"tune": UNJUDGED},
    )

    assert reasons() == {"a": "no-checkpoint"}


def test_what_is_in_use_or_referred_to_is_kept(make_run, reasons, hold, tmp_path):
    hold(make_run("digits/1-running", "running", fast=True))
    make_run("digits/2-base", fast=True)
    make_run("digits/3-swept", "failed")
    make_run("digits/4-latest", fast=True)
    (make_run("digits/5-damaged") / "status.json").write_text("{")
    make_run("words/a", resolved='[model.encoder]\nrun = "/moved/away/digits/2-base"\n')
    (tmp_path / "runs/digits/latest").symlink_to("4-latest")
    table = tmp_path / "runs/digits/sweeps/now/table.json"
    table.parent.mkdir(parents=True)
    table.write_text(json.dumps({"trials": [{"runs": [{"state": "failed", "run": "runs/digits/3-swept"}]}]}))

    assert reasons() == {}


def test_the_latest_run_is_kept_only_if_it_finished(make_run, reasons, tmp_path):
    make_run("digits/a", "failed")
    (tmp_path / "runs/digits/latest").symlink_to("a")

    assert reasons() == {"a": "no-checkpoint"}


def test_hidden_folders_of_killed_processes_are_left_over(make_run, reasons, tmp_path):
    make_run("digits/a")
    for name, age in ((".2026-01-01_000000-aaaa", 7200), (".2026-01-02_000000-aaaa", 60), (".cache", 7200)):
        path = tmp_path / "runs/digits" / name
        path.mkdir()
        os.utime(path, (time.time() - age,) * 2)

    assert reasons() == {".2026-01-01_000000-aaaa": "leftover"}


def test_deleting_moves_latest_to_the_newest_other_run(make_run, tmp_path):
    make_run("digits/1-done")
    path = make_run("digits/2-failed", "failed")
    (tmp_path / "runs/digits/latest").symlink_to("2-failed")

    remove(removable(tmp_path / "runs", [summarize(path)])[0])

    assert not path.exists()
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["1-done", "latest"]
    assert (path.parent / "latest").readlink().name == "1-done"


def test_a_run_that_began_again_meanwhile_is_kept(make_run, hold, tmp_path):
    path = make_run("digits/a", "failed")
    proposed = removable(tmp_path / "runs", [summarize(path)])[0]
    (path / "status.json").write_text(json.dumps({"state": "finished"}))

    with pytest.raises(RunFolderError, match="digits/a is finished now; it was failed before"):
        remove(proposed)
    hold(path)
    with pytest.raises(RunFolderError, match=r"digits/a is in use by process \d+ on .*; wait for it to end"):
        remove(proposed)

    assert (path / RESOLVED).exists()


def test_a_file_with_several_names_counts_once_and_is_freed_with_the_last(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/one").write_bytes(b"x" * 100)
    (tmp_path / "a/two").hardlink_to(tmp_path / "a/one")
    (tmp_path / "b/three").hardlink_to(tmp_path / "a/one")
    (tmp_path / "c/own").write_bytes(b"x" * 7)

    assert size_of([tmp_path / "a"]) == 100
    assert size_of([tmp_path / "a", tmp_path / "c"], freed=True) == 7
    assert size_of([tmp_path / "a", tmp_path / "b", tmp_path / "c"], freed=True) == 107
