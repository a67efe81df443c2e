"""The program as a process: exit codes, signals from its first moments on, and standard streams that do not work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import click
import pytest

from dlpipe import cli
from dlpipe.errors import DlpipeError, InputError

PLUGIN = """
import torch
from torch import nn
from dlpipe import DataSpec, ModelSpec, hookimpl
from dlpipe.data import Columns

class Points:
    facts, splits = {}, ("train", "dev")
    def split(self, name): return Columns({"points": torch.randn(8, 3), "targets": torch.zeros(8, dtype=torch.long)})
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
    def forward(self, points):
        print("a component that prints", flush=True)
        return super().forward(points)

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points")]
@hookimpl
def dlpipe_models(): return [ModelSpec("line", ":Line", "a line")]
"""
PIPELINE = """
name = "points"
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
steps = 40
evaluate_every = 2
[evaluators.fit]
use = "core.loss"
"""
DLPIPE = [sys.executable, "-m", "dlpipe"]
RUN = [*DLPIPE, "run", "points.toml", "--allow-local-plugins"]


@pytest.fixture
def project(tmp_path):
    (tmp_path / "toy.py").write_text(PLUGIN)
    (tmp_path / "points.toml").write_text(PIPELINE)
    return tmp_path


def finished(project):
    folder = project / "runs" / "points" / "latest"
    return '"finished"' in (folder / "status.json").read_text() and "epoch 40" in (folder / "log.txt").read_text()


@pytest.mark.parametrize("redirection", ["2>&1 | head -1", ">&- 2>&- <&-", ">/dev/full 2>/dev/full"])
def test_no_standard_stream_ends_a_training(project, redirection):
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'"$@" {redirection}', "bash", *RUN], cwd=project, capture_output=True
    )

    assert done.returncode == 0
    assert finished(project)


def test_a_result_that_cannot_be_printed_is_an_error_and_a_closed_reader_is_none():
    full, closed = (
        subprocess.run(["bash", "-c", f'"$@" {where}', "bash", *DLPIPE, "list"], capture_output=True, text=True)
        for where in (">/dev/full", ">&-")
    )

    assert (full.returncode, full.stderr) == (1, "No space left on device; free some space\n")
    assert (closed.returncode, closed.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "code"), [(["list"], 0), (["doctor", "nothing.toml"], 3), (["check", "nothing.toml", "--json"], 2)]
)
def test_a_reader_that_has_gone_does_not_change_the_exit_code(tmp_path, command, code):
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run([*DLPIPE, *command], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True)

    os.close(writing)
    assert done.returncode == code
    assert "Error" not in done.stderr


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [
        (signal.SIGINT, 130, "interrupted\n"),
        (signal.SIGTERM, 75, "stopped by SIGTERM\n"),
        (signal.SIGUSR1, 75, "stopped by SIGUSR1\n"),
        (signal.SIGUSR2, 75, "stopped by SIGUSR2\n"),
    ],
)
def test_a_signal_during_the_start_ends_the_program_in_one_line(project, number, code, text):
    # The process sends the signal to itself when it imports a module.
    hook = f"""
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run where it is ignored, as in a background job
class Finder:
    moment, sys.argv = sys.argv[1], sys.argv[1:]
    def find_spec(self, name, path, target=None):
        if name == self.moment:
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Finder())
runpy.run_module("dlpipe", run_name="__main__", alter_sys=True)
"""
    for moment in ("dlpipe.cli", "torch.nn", "dlpipe.engine.execute"):
        hooked = [sys.executable, "-c", hook, moment, *RUN[3:]]
        done = subprocess.run(hooked, cwd=project, capture_output=True, text=True)

        assert (done.returncode, done.stderr) == (code, text), moment
    assert not (project / "runs").exists()


def test_a_working_directory_that_is_gone_is_said(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()

    done = subprocess.run(
        ["bash", "-c", 'rmdir "$PWD"; "$@"', "bash", *DLPIPE, "list"], cwd=gone, capture_output=True, text=True
    )

    assert done.returncode == 2
    assert done.stderr.endswith("the working directory has been removed; change to another one\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (DlpipeError("no luck"), 1, "no luck"),
        (InputError("no file"), 2, "no file"),
        (click.UsageError("no such option"), 2, "Error: no such option"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "runs"), 1, "runs: Permission denied"),
        (MemoryError(), 1, "out of memory; use a smaller batch_size"),
        (KeyError("x"), 1, "internal error: KeyError: 'x'. Please report it with the output of `dlpipe --debug …`"),
    ],
)
def test_whatever_is_raised_becomes_one_message_and_its_exit_code(capsys, monkeypatch, error, code, text):
    def program():
        raise error

    monkeypatch.setattr(sys, "argv", ["dlpipe", "run"])

    assert cli._exit_code(program) == code
    assert capsys.readouterr().err.startswith(text)


def test_debug_shows_the_traceback_of_any_error(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dlpipe", "--debug", "run"])

    cli._exit_code(lambda: {}["x"])

    assert "Traceback (most recent call last)" in capsys.readouterr().err
