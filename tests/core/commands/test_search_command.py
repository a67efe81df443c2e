"""``dlpipe sweep`` with ``[sweep.search]``, in its own process: sharing, kills, pruning, objectives, the budget."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlpipe.errors import PluginError
from dlpipe.sweep import searching

pytest.importorskip("optuna")

PLUGIN = """
import time
import torch
from torch import nn
from dlpipe import DataSpec, ModelSpec, hookimpl
from dlpipe.data.columns import Columns

class Points:
    facts, splits = {"num_inputs": 3}, ("train", "dev", "test")
    def __init__(self, *, count: int = 24):
        self.count = count
    def split(self, name):
        points = torch.randn(self.count, 3, generator=torch.Generator().manual_seed(len(name)))
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def state(self):
        return {}
    def restore(self, state):
        pass
    def fingerprint(self):
        return str(self.count)

class Line(nn.Module):
    def __init__(self, num_inputs: int, *, scale: float = 1.0, wait: float = 0.0):
        super().__init__()
        self.score, self.scale, self.wait = nn.Linear(num_inputs, 2), scale, wait
    def forward(self, points):
        time.sleep(self.wait)
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
steps = 8
evaluate_every = 2
optimizer = { use = "sgd", lr = 0.1 }
[evaluators.fit]
use = "core.loss"
[sweep]
"trainer.optimizer.lr" = { low = 1e-4, high = 10.0, scale = "log" }
"model.scale" = { low = 0.1, high = 3.0 }
[sweep.search]
method = "tpe"
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "toy.py").write_text(PLUGIN)
    return tmp_path


def start(folder, table, *arguments, command="sweep", file="points.toml"):
    if table is not None:
        (folder / "points.toml").write_text(PIPELINE + table)
    words = [sys.executable, "-m", "dlpipe", command, file, "--allow-local-plugins", *arguments]
    return subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def search(folder, table, *arguments, **options):
    process = start(folder, table, *arguments, **options)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def table_of(folder):
    return json.loads((folder / "runs/points/sweeps/latest/table.json").read_text())


def runs_of(folder):
    """The resolved pipelines of all run folders."""
    return [path.read_text() for path in folder.glob("runs/points/2*/resolved.toml")]


def states_of(folder):
    return [json.loads(path.read_text())["state"] for path in folder.glob("runs/points/2*/status.json")]


def test_without_optuna_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setattr(searching, "find_spec", lambda name: None)

    with pytest.raises(PluginError, match=r"\[sweep.search\] needs optuna, which is not installed; install with: pip"):
        searching.require_optuna()


@pytest.mark.slow
def test_a_search_ends_with_the_best_trial_as_a_pipeline(project):
    done = search(project, "trials = 6\n", "--jobs", "1")

    assert done.returncode == 0, done.stderr
    assert "sweep points: tpe search, 6 trials in all, 1 at a time" in done.stderr
    found = table_of(project)
    assert found["metric"] == "dev/fit/loss"
    assert len(found["trials"]) == 6
    assert "dev/fit/loss" in done.stdout
    assert "test/fit/loss" in done.stdout
    assert "importance for dev/fit/loss (" in done.stdout
    folder = project / "runs/points/sweeps/latest"
    assert (folder / "parallel_coordinates.png").stat().st_size > 10_000
    best = min(found["trials"], key=lambda trial: trial["mean"])
    assert 'extends = "../../../../points.toml"' in (folder / "best.toml").read_text()
    again = search(project, None, file=str(folder / "best.toml"), command="run")
    assert again.returncode == 0, again.stderr
    last = json.loads((project / "runs/points/latest/metrics.jsonl").read_text().splitlines()[-1])
    assert last["test/fit/loss"] == best["runs"][0]["metrics"]["test/fit/loss"]


@pytest.mark.slow
def test_one_process_with_the_same_seed_runs_the_same_trials(project, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "toy.py").write_text(PLUGIN)
    table = "trials = 5\nseed = 1\n"

    first = search(project, table, "--jobs", "1", "--json")
    second = search(other, table, "--jobs", "1", "--json", "--quiet")

    assert "5 trials in all" not in second.stderr
    values = [[trial["set"] for trial in json.loads(done.stdout)["trials"]] for done in (first, second)]
    assert values[0] == values[1]


@pytest.mark.slow
def test_a_search_of_two_processes_that_are_killed_runs_each_trial_once(project):
    """Killed: both processes and all their workers, by SIGKILL, twice, at a random moment."""
    table = "trials = 12\n"
    options = ["--jobs", "1", "--set", "model.wait=0.05", "--set", "trainer.checkpoint_every=1"]
    draw = random.Random(7)
    for _ in range(2):
        before = len(runs_of(project))
        processes = [start(project, table, *options) for _ in range(2)]
        deadline = time.monotonic() + 60
        while len(runs_of(project)) < before + 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 1.5))
        kill(processes, project)
    assert len(runs_of(project)) < 12, "the kills came too late to show anything"

    processes = [start(project, table, *options, "--json") for _ in range(2)]
    ended = [process.communicate(timeout=120) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], ended
    assert states_of(project) == ["finished"] * 12
    assert len(set(runs_of(project))) == 12
    tables = [json.loads(out) for out, _ in ended]
    assert [len(found["trials"]) for found in tables] == [12, 12]
    assert [t["set"] for t in tables[0]["trials"]] == [t["set"] for t in tables[1]["trials"]]


def kill(processes, folder):
    """Kill process groups; workers have groups of their own, and are known by their working directory."""
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if (entry / "cwd").readlink() == folder:
                os.kill(int(entry.name), signal.SIGKILL)
    for process in processes:
        process.communicate(timeout=30)


@pytest.mark.slow
def test_pruned_trials_take_fewer_steps_and_are_no_finished_runs(project):
    table = 'trials = 12\npruner = "median"\n'
    options = ["--jobs", "1", "--set", "trainer.steps=20"]

    done = search(project, table, *options)
    again = search(project, table, *options)

    assert done.returncode == 0, done.stderr
    found = table_of(project)["trials"]
    pruned = [run for trial in found for run in trial["runs"] if run["state"] == "pruned"]
    assert pruned
    assert all(run["reason"].startswith("pruned by the search at step ") for run in pruned)
    assert f"pruned at step {pruned[0]['reason'].split()[-1]}" in done.stdout
    assert sorted(states_of(project)) == ["finished"] * (12 - len(pruned)) + ["pruned"] * len(pruned)
    assert any(int(run["reason"].split()[-1]) < 20 for run in pruned)
    assert again.returncode == 0, again.stderr
    assert len(runs_of(project)) == 12
    assert again.stderr.count(", reused)") == 12
    # The same pipeline as an ordinary trial is run to its end.
    values = next(trial["set"] for trial in found if trial["runs"][0]["state"] == "pruned")
    grid = PIPELINE.partition("[sweep]")[0] + "[sweep]\n" + "".join(f'"{k}" = [{v!r}]\n' for k, v in values.items())
    (project / "points.toml").write_text(grid)
    search(project, None, "--set", "trainer.steps=20")
    assert table_of(project)["trials"][0]["runs"][0]["how"] == "run"


@pytest.mark.slow
def test_several_objectives_have_a_pareto_front(project):
    done = search(project, 'trials = 5\nmetric = ["dev/fit/loss", "seconds"]\n', "--jobs", "1")

    assert done.returncode == 0, done.stderr
    assert "* Pareto front of dev/fit/loss (lower is better), seconds (lower is better)" in done.stdout
    trials = table_of(project)["trials"]
    points = [(trial["mean"], trial["runs"][0]["seconds"]) for trial in trials]
    front = [p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)]
    assert done.stdout.count(" *") == len(front)


@pytest.mark.slow
def test_trials_with_different_losses_are_not_searched_by_the_loss(project):
    losses = '\n[sweep.loss]\nclasses = {}\nnumbers = { "trainer.loss" = "mse" }\n'

    answer = search(project, losses)

    assert answer.returncode == 2
    assert (
        '[sweep.search] dev/fit/loss is not the same everywhere, as loss is "auto" or "mse"; to compare by it, set '
        "evaluators.fit.loss"
    ) in answer.stderr
    assert not runs_of(project)


def test_no_trial_is_started_after_the_budget(project):
    done = search(project, "trials = 500\n", "--jobs", "1", "--budget", "1s", "--set", "model.wait=0.1")

    assert done.returncode == 0, done.stderr
    count = len(runs_of(project))
    assert 0 < count < 20
    assert f"the budget is used up: {count} of 500 trials were run" in done.stderr
    assert set(states_of(project)) == {"finished"}
