from __future__ import annotations

import shutil
import subprocess

import pytest

from dlpipe.runs.provenance import git_state, package_digest


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


def test_the_code_of_a_package_has_a_digest_that_changes_with_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for name, text in (("one_code", "a = 1"), ("two_code", "a = 1"), ("three_code", "a = 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "model.py").write_text(text)
        digests.append(package_digest(name))

    assert digests[0] == digests[1]
    assert digests[1] != digests[2]
