"""The commit of the working directory, read without running what its repository configures."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from dlpipe.runs.git_state import git_state

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder, *arguments):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repository(tmp_path):
    """A repository with a commit of one file."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init")
    (folder / "file").write_text("one")
    git(folder, "add", "file")
    git(folder, "commit", "-m", "first")
    return folder


@needs_git
def test_the_commit_and_whether_files_differ_from_it_are_known(repository):
    clean = git_state(repository)
    (repository / "below").mkdir()
    (repository / "file").write_text("two")
    changed = git_state(repository / "below")
    git(repository, "add", "file")
    staged = git_state(repository)

    assert len(clean["commit"]) == 40
    assert [state["changed"] for state in (clean, changed, staged)] == [False, True, True]


@needs_git
def test_worktrees_packed_branches_and_sha256_are_understood(repository, tmp_path):
    git(repository, "worktree", "add", "-b", "other", str(tmp_path / "worktree"))
    git(repository, "pack-refs", "--all")
    (tmp_path / "worktree" / "file").write_text("two")
    (tmp_path / "long").mkdir()
    git(tmp_path / "long", "init", "--object-format=sha256")
    git(tmp_path / "long", "commit", "--allow-empty", "-m", "first")

    here, there, long = (git_state(folder) for folder in (repository, tmp_path / "worktree", tmp_path / "long"))

    assert here["commit"] == there["commit"]
    assert (here["changed"], there["changed"], long["changed"]) == (False, True, False)
    assert len(long["commit"]) == 64


@needs_git
@pytest.mark.parametrize("trap", ["fsmonitor", "filter", "hook", "submodule"])
def test_nothing_that_the_repository_configures_is_run(repository, tmp_path, trap):
    script = tmp_path / "trap.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    script.chmod(0o755)
    if trap == "fsmonitor":
        git(repository, "config", "core.fsmonitor", str(script))
    elif trap == "filter":
        (repository / ".gitattributes").write_text("* filter=trap\n")
        git(repository, "config", "filter.trap.clean", str(script))
    elif trap == "hook":
        shutil.copy(script, repository / ".git" / "hooks" / "post-index-change")
    else:
        git(repository, "init", "part")
        git(repository / "part", "commit", "--allow-empty", "-m", "first")
        git(repository, "add", "part")
        git(repository / "part", "config", "core.fsmonitor", str(script))
    (repository / "file").write_text("two")  # of another time, so that git looks at the content
    (tmp_path / "sprung").unlink(missing_ok=True)

    state = git_state(repository)

    assert state["changed"]
    assert not (tmp_path / "sprung").exists()
    git(repository, "status")  # which is what springs the trap
    assert (tmp_path / "sprung").exists()


def test_a_folder_in_no_repository_has_no_state(tmp_path):
    assert git_state(tmp_path) is None


@needs_git
@pytest.mark.parametrize("damage", ["no commit", "no HEAD", "no config", "elsewhere"])
def test_a_repository_that_cannot_be_read_has_no_state(tmp_path, damage):
    git(tmp_path, "init")
    if damage.startswith("no ") and damage != "no commit":
        (tmp_path / ".git" / damage[3:]).unlink()
    if damage == "elsewhere":
        shutil.rmtree(tmp_path / ".git")
        (tmp_path / ".git").write_text("gitdir: /nowhere")

    assert git_state(tmp_path) is None


def test_a_machine_without_git_has_no_state(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)

    assert git_state(tmp_path) is None
