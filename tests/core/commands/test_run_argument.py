"""The argument RUN of commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlpipe.cli import make_program
from dlpipe.registry.loading import load_plugins

REGISTRY = load_plugins()
COMMANDS = ["evaluate", "predict", "report", "resume", "export", "serve"]


def ask(*arguments):
    """Return what the program says, and the error that it ends with."""
    answer = CliRunner().invoke(make_program(REGISTRY), arguments, obj=REGISTRY)
    assert answer.exit_code != 0
    return f"{answer.output}{answer.exception}"


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    """Make a run that every command stops at when it reads its pipeline, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "points" / "2026"
    folder.mkdir(parents=True)
    (folder / "resolved.toml").write_text("name = 3")
    (folder.parent / "latest").symlink_to("2026")


@pytest.mark.parametrize("name", ["runs/points", "points", "points/2026"])
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_take_names_and_the_folder_of_a_pipelines_runs(command, name):
    assert re.search("runs/points/(2026|latest)", ask(command, name))


def test_show_takes_the_folder_of_a_pipelines_runs_for_the_latest():
    assert "runs/points/latest" in ask("show", "runs/points")


@pytest.mark.parametrize("path", ["runs/pionts/latest", "pionts"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_run_is_answered_with_those_of_similar_names(command, path):
    Path("plots").mkdir()  # a folder beside runs/

    assert f"{path}: there is no such run folder; there are points" in ask(command, path)


@pytest.mark.parametrize("run", ["runs/pionts/latest", "runs"])
def test_predict_looks_for_the_run_before_it_reads_the_options_of_that_run(run):
    assert re.search("^runs.*(no such|is not a) run folder", ask("predict", run, "--label", "3"))
