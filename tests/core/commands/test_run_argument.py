"""The argument RUN of commands."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from dlpipe.cli import make_program
from dlpipe.registry.loading import load_plugins


@pytest.mark.parametrize("command", ["evaluate", "predict", "report", "resume", "export", "serve", "show"])
def test_commands_take_the_folder_of_a_pipelines_runs_for_the_latest(tmp_path, command):
    run = tmp_path / "points" / "2026"
    run.mkdir(parents=True)
    (run / "resolved.toml").write_text("name = 3")  # the command stops when it reads this
    (run.parent / "latest").symlink_to("2026")
    registry = load_plugins()

    answer = CliRunner().invoke(make_program(registry), [command, str(run.parent)], obj=registry)

    assert answer.exit_code != 0
    assert "2026" in f"{answer.output}{answer.exception}" or "latest" in f"{answer.output}{answer.exception}"
    assert "is not a run folder" not in answer.output


@pytest.mark.parametrize("run", ["runs/pionts/latest", "runs"])
def test_predict_looks_for_the_run_before_it_reads_the_options_of_that_run(run, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    registry = load_plugins()

    answer = CliRunner().invoke(make_program(registry), ["predict", run, "--label", "3"], obj=registry)

    assert re.search("^runs.*(no such|is not a) run folder", str(answer.exception))
