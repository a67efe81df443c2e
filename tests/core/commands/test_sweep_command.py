"""``dlpipe sweep`` in its own process: what it runs, reuses and resumes, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

PLUGIN = """
import os, signal
import torch
from torch import nn
from dlpipe import DataSpec, ModelSpec, hookimpl
from dlpipe.data.columns import Columns

class Points:
    facts, splits = {"num_inputs": 3}, ("train", "dev", "test")
    def __init__(self, *, count: int = 24, tested: bool = True):
        self.count = count
        self.splits = self.splits[:3 if tested else 2]
    def split(self, name):
        points = torch.randn(self.count, 3, generator=torch.Generator().manual_seed(len(name)))
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def state(self):
        return {}
    def restore(self, state):
        pass
    def fingerprint(self):
        return open("content.txt").read()

class Line(nn.Module):
    def __init__(self, num_inputs: int, *, scale: float = 1.0, trouble: str = ""):
        super().__init__()
        if trouble == "raises":
            raise RuntimeError("no such luck")
        if trouble == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        self.score, self.scale = nn.Linear(num_inputs, 2), scale
        print("noise")
    def forward(self, points):
        return self.score(points) * self.scale

@hookimpl
def dlpipe_data():
    return [DataSpec("points", ":Points", "points", facts=("num_inputs",))]
@hookimpl
def dlpipe_models():
    return [ModelSpec("line", ":Line", "a line")]
"""
PIPELINE = """
name = "points"
seed = 3
threads = 1
device = "cpu"
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
steps = 4
evaluate_every = 2
[evaluators.fit]
use = "core.loss"
"""
TWO = '[sweep]\nseeds = 2\n"model.scale" = [1.0, 0.0, 0]\n[sweep.reference.book]\n"0.0" = 0.6931\n'


def start(folder, *arguments, program=("-m", "dlpipe", "sweep")):
    command = [sys.executable, *program, "points.toml", "--allow-local-plugins", *arguments]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def sweep(folder, *arguments, **options):
    process = start(folder, *arguments, **options)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder with a finished sweep, and the output of the command."""
    folder = tmp_path_factory.mktemp("swept")
    write(folder, TWO)
    return folder, sweep(folder, "--jobs", "2")


@pytest.fixture
def project(tmp_path):
    write(tmp_path, TWO)
    return tmp_path


def write(folder, table):
    (folder / "toy.py").write_text(PLUGIN)
    (folder / "content.txt").write_text("one")
    (folder / "points.toml").write_text(PIPELINE + table)


def table(folder):
    return json.loads((folder / "runs/points/sweeps/latest/table.json").read_text())


def numbers(content):
    return [run["metrics"] for trial in content["trials"] for run in trial["runs"]]


def hows(content):
    return [run["how"] for trial in content["trials"] for run in trial["runs"]]


def test_a_sweep_ends_with_a_table_of_all_trials(swept):
    done = swept[1]

    assert done.returncode == 0, done.stderr
    heading, first, second, third, *rest = done.stdout.splitlines()
    assert heading.split() == ["model.scale", "dev/fit/loss", "test/fit/loss", "book", "seconds", "run"]
    assert first.split()[0] == "1.0"
    for line in (second, third):  # a model that answers 0 does as badly on dev as on test
        assert [cell for cell in line.split() if cell != "*"][1:7] == ["0.6931", "±", "0.0000"] * 2
    assert rest[0] == "* best: lower is better"
    assert "mean ± standard deviation over 2 seeds" in rest[1]
    assert "[4/4]" in done.stderr
    assert "3 trials, 4 runs, 2 at a time" in done.stderr  # two trials have the same pipeline
    assert "noise" not in done.stdout + done.stderr


def test_the_table_is_stored_as_markdown_and_json(swept):
    folder = swept[0]
    content = table(folder)

    markdown = (folder / "runs/points/sweeps/latest/table.md").read_text()

    assert "| model.scale | dev/fit/loss | test/fit/loss | book | seconds | run |\n| --- |" in markdown
    assert [trial["label"] for trial in content["trials"]] == ["1.0", "0.0", "0"]
    assert content["trials"][1]["references"] == {"book": 0.6931}
    assert content["trials"][1]["mean"] == pytest.approx(0.6931, abs=1e-4)
    assert [run["seed"] for run in content["trials"][0]["runs"]] == [3, 4]
    assert content["metric"] == "dev/fit/loss"
    assert (folder / "runs/points/sweeps/latest/curves.png").stat().st_size > 10_000
    page = (folder / "runs/points/sweeps/latest/report.html").read_text()
    assert "The best dev/fit/loss is" in page
    assert '"title": "dev/fit/loss"' in page
    best = min(content["trials"], key=lambda trial: trial["mean"])
    assert f"scale = {best['set']['model.scale']}" in (folder / "runs/points/sweeps/latest/best.toml").read_text()
    assert all((folder / run["run"]).is_dir() for trial in content["trials"] for run in trial["runs"])


@pytest.mark.slow
def test_a_trial_has_the_numbers_of_an_ordinary_run(swept, tmp_path):
    write(tmp_path, TWO)
    options = ["--set", "model.scale=1.0", "--set", "seed=4"]

    done = sweep(tmp_path, *options, program=("-m", "dlpipe", "run"))

    assert (
        "points.toml has a [sweep] of 3 trials; this run is the pipeline without it. To run all trials:  dlpipe sweep"
        in done.stderr
    )
    last = json.loads((tmp_path / "runs/points/latest/metrics.jsonl").read_text().splitlines()[-1])
    assert last["test/fit/loss"] == table(swept[0])["trials"][0]["runs"][1]["metrics"]["test/fit/loss"]


@pytest.mark.slow
def test_a_trial_that_fails_does_not_end_the_others(project):
    write(project, '[sweep]\n"model.trouble" = ["raises", "dies", "none"]\n')

    done = sweep(project)

    assert done.returncode == 1
    assert 'raises: failed: [model] use = "toy.line": RuntimeError: no such luck (toy.py:' in done.stderr
    assert "dies: failed: its process was killed by SIGKILL" in done.stderr
    assert done.stderr.endswith("2 of 3 runs failed; see above\n")
    assert [line.split()[1] for line in done.stdout.splitlines()[1:3]] == ["failed", "failed"]
    assert [run["state"] for trial in table(project)["trials"] for run in trial["runs"]] == [
        "failed",
        "failed",
        "finished",
    ]


@pytest.mark.slow
def test_a_dry_run_builds_every_trial_and_stores_nothing(project):
    done = sweep(project, "--dry-run")

    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == ["1.0", "0.0", "0"]
    assert not (project / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "to_all"),
    [(signal.SIGINT, 130, True), (signal.SIGTERM, 75, False), (signal.SIGUSR1, 75, True), (signal.SIGKILL, -9, False)],
)
def test_a_stopped_sweep_is_resumed(project, number, code, to_all):
    """`to_all`: as the keyboard and batch systems do, the signal goes to the whole group of processes."""
    # Enough steps that a fast machine is still running when the signal arrives.
    write(project, '[sweep]\n"trainer.steps" = [2, 20_000]\n')
    options = ["--jobs", "1", "--set", "trainer.checkpoint_every=1000", "--set", "trainer.evaluate_every=1000"]
    process = start(project, *options)
    assert process.stderr is not None
    assert any("[1/2]" in line for line in process.stderr)
    wait_for(lambda: len(list(project.glob("runs/points/2*/checkpoints/last"))) == 2)

    (os.killpg if to_all else os.kill)(process.pid, number)
    _, said = process.communicate(timeout=60)
    states = sorted(project.glob("runs/points/2*/status.json"))
    wait_for(lambda: "running" not in states[1].read_text())

    assert process.returncode == code
    if code > 0:
        assert f"stopped by {number.name}: 1 of 2 runs are done; to resume, repeat the command: dlpipe sweep" in said
    done = sweep(project, *options, "--json", "--set", "trainer.keep=2")
    assert hows(json.loads(done.stdout)) == ["reused", "resumed"]


def wait_for(condition):
    """Wait until a condition holds; fail after a minute."""
    never = threading.Event()
    for _ in range(3000):
        if condition():
            return
        never.wait(0.02)
    pytest.fail("the condition never held")


def test_mistakes_of_trials_are_reported_by_check_and_before_the_first_run(project):
    write(project, '[sweep]\n"model.scale" = [1.0, "big"]\n')

    checked = sweep(project, program=("-m", "dlpipe", "check"))
    done = sweep(project)

    assert (checked.returncode, done.returncode) == (2, 2)
    assert done.stderr == checked.stderr
    assert 'points.toml:18: [model] scale = "big": expected a number (trial "big")' in done.stderr
    assert not (project / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "wrong"),
    [
        ("dev/fit/los", "a run gives dev/fit/loss, test/fit/loss"),
        (
            "test/fit/loss",
            'a sweep compares on dev, so that the score on test stays honest; expected "dev/fit/loss"',
        ),
    ],
)
def test_a_metric_that_trials_cannot_be_compared_by_is_found_after_the_first_run(project, metric, wrong):
    write(project, f'[sweep]\nmetric = "{metric}"\n"model.scale" = [1.0, 2.0, 3.0]\n')

    done = sweep(project, "--jobs", "1")

    assert done.returncode == 2
    assert f'[sweep] metric = "{metric}": {wrong}. The sweep stops here' in done.stderr
    assert len(list(project.glob("runs/points/2*"))) == 1


@pytest.mark.slow
def test_two_sweeps_at_once_share_the_trials(project):
    write(project, '[sweep]\n"model.scale" = [1.0, 2.0, 3.0, 4.0, 5.0]\n')

    processes = [start(project, "--jobs", jobs, "--json") for jobs in "12"]
    results = [process.communicate(timeout=120) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], results
    shared = [json.loads(out) for out, _ in results]
    assert numbers(shared[0]) == numbers(shared[1])
    assert sorted(hows(shared[0]) + hows(shared[1])) == ["reused"] * 5 + ["run"] * 5
    assert len(list(project.glob("runs/points/2*"))) == 5


@pytest.mark.slow
def test_what_another_sweep_works_on_is_left_to_the_end(project):
    write(project, '[sweep]\n"model.scale" = [1.0, 2.0, 3.0]\n')
    claim = """
import os, sys
from pathlib import Path
from dlpipe.registry.loading import load_plugins
from dlpipe.sweep.plan import load_sweep
from dlpipe.sweep.trial import Task, _claim
planned = load_sweep("points.toml", load_plugins(), allow_local_plugins=True)
with _claim(Task(planned.trials[0].pipelines[0], Path("runs"))):
    print("claimed", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), 9)  # a claim ends with its process
"""
    with subprocess.Popen(
        [sys.executable, "-c", claim], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        process = start(project, "--jobs", "1")
        assert process.stderr is not None
        assert any("[2/3]" in line for line in process.stderr)
        other.communicate("")

    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "[3/3] 1.0: dev/fit/loss" in said
    assert "reused" not in said
