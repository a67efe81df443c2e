"""A signal at any moment of a run: the exit code asks for a restart, and the resumed run ends as an undisturbed one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from dlpipe.testing.resume import assert_same_outcome

# At the moment that the variable SIGNAL names, the run sends itself a signal: "1" is the first time, and so on.
PLUGIN = """
import os
from collections import Counter
import torch
from torch import nn
from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, hookimpl
from dlpipe.data import Columns

SEEN, WHEN = Counter(), os.environ.get("SIGNAL", "")

def reach(moment):
    SEEN[moment] += 1
    if WHEN.startswith(f"{moment} {SEEN[moment]} "):
        os.kill(os.getpid(), int(WHEN.split()[-1]))

class Points:
    facts, splits = {}, ("train", "dev", "test")
    def __init__(self):
        reach("data")
    def split(self, name):
        points = torch.randn(600, 3, generator=torch.Generator().manual_seed(len(name)))
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
        reach("model")
    def forward(self, points):
        reach("step" if torch.is_grad_enabled() else "outputs")
        return super().forward(points)

class Guess(nn.Module):
    def fit(self, points, targets):
        reach("fit")
        self.register_buffer("share", targets.double().mean())
    def forward(self, points):
        return torch.stack([torch.zeros(len(points)), self.share.expand(len(points))], 1)

class Sign:
    primary, goal = "share", "max"
    def evaluate(self, model, examples):
        reach("evaluate " + examples.split)
        found = [predicted.double().mean() for _, _, predicted in examples.predictions(model)]
        reach("evaluated " + examples.split)
        return {"share": float(sum(found))}
    def write(self, folder):
        reach("write")
        (folder / "figure.txt").write_text("a figure")

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points")]
@hookimpl
def dlpipe_models(): return [ModelSpec("line", ":Line", "a line"), ModelSpec("guess", ":Guess", "a guess")]
@hookimpl
def dlpipe_evaluators(): return [EvaluatorSpec("sign", ":Sign", "the share of one sign", baselines=("toy.guess",))]
"""
STAGE = """
[{0}data]
use = "toy.points"
[{0}model]
use = "toy.line"
[{0}trainer]
use = "core.supervised"
steps = 6
evaluate_every = 3
[{0}evaluators.sign]
use = "toy.sign"
[{0}evaluators.fit]
use = "core.loss"
"""
LATEST = "runs/points/latest"
HEAD = 'name = "points"\nplugins = ["./toy.py"]\ndevice = "cpu"\nthreads = 1\n'
INSIDE = "during the evaluation on dev"
#: Each costs two processes; those without `slow` stand for the others.
MOMENTS = [
    pytest.param("data 1", "while building the data", id="while the data is built"),
    pytest.param("model 1", "while trying everything in small", id="in the rehearsal", marks=pytest.mark.slow),
    pytest.param("model 4", "while building the model", id="while the model is built", marks=pytest.mark.slow),
    pytest.param("outputs 8", INSIDE, id="between two batches on dev"),
    pytest.param("evaluated dev 3", INSIDE, id="between two evaluators", marks=pytest.mark.slow),
    pytest.param("evaluated test 1", "while testing the checkpoint of step [36]", id="on test", marks=pytest.mark.slow),
    pytest.param(
        "write 2", "while drawing the figures of sign", id="while figures are written", marks=pytest.mark.slow
    ),
    pytest.param("fit 1", "while comparing with the baseline toy.guess", id="while a baseline is fitted"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write(folder, STAGE.format(""))
    assert dlpipe(folder, "run").returncode == 0
    return folder


def write(folder, tables):
    (folder / "toy.py").write_text(PLUGIN)
    (folder / "points.toml").write_text(HEAD + tables)


def dlpipe(folder, command, signaled=""):
    what = ["points.toml"] if command == "run" else [LATEST]
    return subprocess.run(
        [sys.executable, "-m", "dlpipe", command, *what, "--allow-local-plugins"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"SIGNAL": signaled},
    )


def state(folder):
    content = json.loads((folder / LATEST / "status.json").read_text())
    return content["state"], content["reason"]


def files(folder):
    run = (folder / LATEST).resolve()
    return {str(path.relative_to(run)) for path in run.rglob("*")}


@pytest.mark.parametrize(("moment", "when"), MOMENTS)
def test_a_signal_ends_a_run_that_can_be_resumed(tmp_path, whole, moment, when):
    write(tmp_path, STAGE.format(""))

    stopped = dlpipe(tmp_path, "run", f"{moment} {int(signal.SIGUSR2)}")

    assert stopped.returncode == 75, stopped.stderr
    assert "Traceback" not in stopped.stderr
    how, why = state(tmp_path)
    assert how == "preempted"
    assert re.fullmatch(f"stopped by SIGUSR2 {when}", why)
    to_resume = " with: dlpipe resume runs/points/"
    during_training = f"{why}; resume it{to_resume}"
    assert f"{why.removeprefix('stopped by ')}: no training is lost; resume the run{to_resume}" in stopped.stderr or (
        when == INSIDE and during_training in stopped.stderr
    )
    resumed = dlpipe(tmp_path, "resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_outcome(whole / LATEST, tmp_path / LATEST, moment)
    assert files(tmp_path) == files(whole)


@pytest.mark.slow
def test_a_signal_while_a_later_stage_is_built_keeps_the_stages_before_it(tmp_path):
    write(tmp_path, STAGE.format("stages.one.") + STAGE.format("stages.two."))

    stopped = dlpipe(tmp_path, "run", f"data 2 {int(signal.SIGTERM)}")
    first = (tmp_path / LATEST / "stages/one/metrics.jsonl").read_bytes()
    resumed = dlpipe(tmp_path, "resume")

    assert (stopped.returncode, resumed.returncode) == (75, 0), stopped.stderr + resumed.stderr
    assert (tmp_path / LATEST / "stages/one/metrics.jsonl").read_bytes() == first
    assert "test/sign/share" in (tmp_path / LATEST / "stages/two/metrics.jsonl").read_text()
