"""``dlpipe runs``: what it lists and deletes, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dlpipe.cli import _exit_code
from dlpipe.commands.runs import runs
from dlpipe.runs.folder import RunFolder

LINE = {"step": 40, "epoch": 4.0, "test/digits/accuracy": 0.75, "time": 1.0}
OLD, NEW = "2026-01-01_000000-aaaa", "2026-01-02_000000-bbbb"


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run the command in the folder of the test; return its exit code, and what it has written to both streams."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, answer: str = "") -> tuple[int, str, str]:
        with CliRunner().isolation(input=answer) as (out, err, _):
            monkeypatch.setattr(sys.stdin, "isatty", lambda: bool(answer))
            code = _exit_code(lambda: runs.main(list(arguments), "dlpipe runs", standalone_mode=False) or 0)
            return code, out.getvalue().decode(), err.getvalue().decode()

    return call


def test_the_list_shows_state_score_and_progress_newest_first(make_run, call):
    make_run(f"digits/{OLD}", metrics=[LINE], seconds=90.0)
    make_run(f"words/{NEW}", "failed", fast=True)

    code, out, _ = call()

    lines = [line.split("  ") for line in out.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert code == 0
    assert cells[0] == ["run", "state", "score", "progress", "age", "took"]
    assert [row[0] for row in cells[1:]] == [f"words/{NEW}", f"digits/{OLD}"]
    assert cells[1][1:4] == ["failed (fast)", "–", "step 0/40"]
    assert cells[2][1:4] == ["finished", "test/digits/accuracy 0.75", "step 40/40, epoch 4"]
    assert cells[2][5] == "1.5 min"


def test_filters_and_json(make_run, call):
    make_run(f"digits/{OLD}", metrics=[LINE])
    make_run(f"words/{OLD}", "failed", reason="no luck")
    make_run(f"words/{NEW}", "running", locked_by="process 1 on {host}")

    def names(*arguments: str) -> list[str]:
        return [f"{run['state']} {run['path']}" for run in json.loads(call("--json", *arguments)[1])]

    assert names("--failed") == [f"stale runs/words/{NEW}", f"failed runs/words/{OLD}"]
    assert names("--state", "failed", "--state", "finished", "--last", "1") == [f"failed runs/words/{OLD}"]
    assert names("--name", "dig*") == [f"finished runs/digits/{OLD}"]
    found = json.loads(call("--json", "--failed")[1])[1]
    assert (found["reason"], found["total_steps"], found["score"]) == ("no luck", 40, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--watch"], "--watch needs a terminal, but standard output is none; expected dlpipe runs --json, again and"),
        (["--runs", "elsewhere"], "elsewhere: there is no such folder; expected one with runs: --runs DIR"),
        (["--last", "2", "clean"], "options of 'runs clean' stand after it, not before it"),
        (["clean", "--older-than", "3"], "'3': expected a number with m, h, d or w, such as 12h or 30d"),
        (["clean", "--yes", "--dry-run"], "--yes and --dry-run exclude each other; expected one of them"),
        (["--state", "done"], "'done' is not one of 'running', 'finished'"),
    ],
)
def test_what_it_cannot_do_is_an_error(make_run, call, arguments, message):
    make_run(f"digits/{OLD}")

    code, out, err = call(*arguments)

    assert (code, out) == (2, "")
    assert message in err


def test_clean_deletes_after_a_yes_and_only_then(make_run, call):
    path = make_run(f"digits/{OLD}", fast=True, checkpoint=3_000_000)

    shown, refused = call("clean", "--dry-run"), call("clean", answer="n\n")
    assert path.exists()
    deleted = call("clean", answer="y\n")

    assert f"digits/{OLD}  3 MB" in shown[1]
    assert "finished  ran with --fast" in shown[1]
    assert "1 folder; deleting it frees 3 MB" in refused[1]
    assert "Delete them? [y/N]" in refused[2]
    assert (deleted[0], path.exists()) == (0, False)
    assert "1 deleted" in deleted[2]


def test_clean_asks_nobody_where_there_is_no_terminal(make_run, call):
    path = make_run(f"digits/{OLD}", fast=True)

    code, _, err = call("clean")

    assert (code, path.exists()) == (2, True)
    assert err == "nothing is deleted, as standard input is no terminal to ask on; to delete them, pass --yes\n"


def test_clean_of_what_is_old_or_for_one_reason(make_run, call):
    old = make_run(f"digits/{OLD}", fast=True, age=3 * 86400)
    young = make_run(f"digits/{NEW}", fast=True)

    assert "nothing to delete in runs" in call("clean", "--yes", "--only", "leftover")[2]
    assert call("clean", "--yes", "--older-than", "2d")[0] == 0

    assert (old.exists(), young.exists()) == (False, True)


def test_what_cannot_be_deleted_is_named_and_the_rest_is_deleted(make_run, call, monkeypatch):
    first, second = make_run(f"digits/{OLD}", fast=True), make_run(f"digits/{NEW}", fast=True)
    discard = RunFolder.discard

    def refuse(self, unlock):
        if self.path.name == NEW:
            raise PermissionError(13, "Permission denied")
        discard(self, unlock)

    monkeypatch.setattr(RunFolder, "discard", refuse)

    code, _, err = call("clean", "--yes")

    assert code == 1
    assert f"kept: runs/digits/{NEW}: Permission denied" in err
    assert "1 of 2 folders could not be deleted; see above" in err
    assert (first.exists(), second.exists()) == (False, True)


def test_listing_imports_no_torch(make_run, tmp_path):
    make_run(f"digits/{OLD}", metrics=[LINE])
    code = (
        "import sys; sys.argv = ['dlpipe', 'runs']\n"
        "import atexit; atexit.register(lambda: print({'torch', 'numpy'} & set(sys.modules)))\n"
        "from dlpipe.cli import main; main()"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert "test/digits/accuracy 0.75" in done.stdout
    assert done.stdout.endswith("set()\n")
