from __future__ import annotations

import shutil
import subprocess

import pytest

from dlpipe.runs.provenance import git_state


def git(folder, *arguments):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
        check=True,
        capture_output=True,
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_and_whether_files_differ_from_it_are_known(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")

    clean = git_state(tmp_path)
    (tmp_path / "file").write_text("two")
    changed = git_state(tmp_path)

    assert clean is not None
    assert changed is not None
    assert len(clean["commit"]) == 40
    assert (clean["changed"], changed["changed"]) == (False, True)


def test_a_folder_in_no_repository_has_no_state(tmp_path):
    assert git_state(tmp_path) is None


def test_a_machine_without_git_has_no_state(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)

    assert git_state(tmp_path) is None
