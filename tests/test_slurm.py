"""Jobs on a real Slurm: stopped and queued again, they end as undisturbed ones. Skipped where there is no Slurm.

On a machine without Slurm, ``slurm_local.sh`` in the folder ``tools`` next to the test data starts one with one node.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dlpipe.testing.resume import assert_same_outcome

pytestmark = pytest.mark.slow

# At step 3 of the first start, the job asks Slurm for the signal of the time limit; at step 6 of the second one, it is
# preempted. It waits at that step until the signal has come, which the run shows by restoring the handlers. Of several
# tasks, the first one asks; the others wait for its part of the gradients.
PLUGIN = """
import os, signal, subprocess, time
import torch
from torch import nn
from dlpipe import DataSpec, ModelSpec, hookimpl
from dlpipe.data import Columns

job, restarts = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_RESTART_COUNT", "0")
DISTURBED = {
    ("0", 3): ["scancel", "--signal=USR1", job],
    ("1", 6): ["scontrol", "requeue", job],
} if job and "UNDISTURBED" not in os.environ else {}
if os.environ.get("SLURM_ARRAY_TASK_ID", "1") != "1" or os.environ.get("SLURM_PROCID", "0") != "0":
    DISTURBED = {}

class Points:
    facts, splits = {}, ("train", "dev")
    def split(self, name):
        points = torch.randn(24, 3, generator=torch.Generator().manual_seed(len(name)))
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Module):
    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.score, self.dropout, self.scale = nn.Linear(3, 2), nn.Dropout(0.2), scale
        self.register_buffer("steps", torch.zeros(()))
    def forward(self, points):
        if self.training:
            self.steps += 1
            handler = signal.getsignal(signal.SIGUSR1)
            if command := DISTURBED.pop((restarts, int(self.steps)), None):
                code = subprocess.run(command).returncode
                assert code in (0, -signal.SIGUSR1), code  # its own signal reaches it, too
                while signal.getsignal(signal.SIGUSR1) is handler:
                    time.sleep(0.01)
        return self.score(self.dropout(points)) * self.scale

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points")]
@hookimpl
def dlpipe_models(): return [ModelSpec("line", ":Line", "a line")]
"""
PIPELINE = """
name = "points"
device = "cpu"
threads = 1
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
batch_size = 5
steps = 9
evaluate_every = 4
[evaluators.fit]
use = "core.loss"
[sweep]
"model.scale" = [1.0, 2.0, 3.0, 4.0]
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment in which the commands of Slurm work."""
    if shutil.which("sbatch"):
        yield dict(os.environ)
        return
    tool = Path(os.environ.get("DLPIPE_TEST_DATA", "/")).parent / "tools" / "slurm_local.sh"
    if not tool.is_file():
        pytest.skip("there is no Slurm here")
    folder = tmp_path_factory.mktemp("slurm")
    # With it, nproc says that the node has a single core.
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    started = subprocess.run(["bash", tool, "start", folder], env=environment, capture_output=True, text=True)
    if started.returncode:
        pytest.skip(f"Slurm does not start: {started.stderr}")
    shown = subprocess.run(["bash", "-c", f". {folder}/env.sh; env -0"], capture_output=True, text=True, check=True)
    yield dict(line.split("=", 1) for line in shown.stdout.split("\0") if line)
    subprocess.run(["bash", tool, "stop", folder], check=True)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "toy.py").write_text(PLUGIN)
    (tmp_path / "points.toml").write_text(PIPELINE)
    return tmp_path


def dlpipe(folder, slurm, command, *options, ranks=1):
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    program = [sys.executable, *launcher, "-m", "dlpipe", command, "points.toml", "--allow-local-plugins", *options]
    done = subprocess.run(program, cwd=folder, env=slurm, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_for_end(job, slurm, seconds=300):
    """Wait until all tasks of a job have ended, and return what Slurm says about each.

    A job that is queued again would wait for two minutes; here, three seconds, as the node refuses one that it has just
    ended.
    """
    never = threading.Event()
    hurried = set()
    for _ in range(seconds):
        shown = subprocess.run(["scontrol", "show", "job", "-o", job], env=slurm, capture_output=True, text=True).stdout
        tasks = [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in shown.splitlines()]
        if all(task["JobState"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT") for task in tasks):
            return tasks
        for task in tasks:
            start = task["JobId"], task["Restarts"]
            if task["Reason"] == "BeginTime" and start not in hurried:
                hurried.add(start)
                update = ["scontrol", "update", f"JobId={task['JobId']}", "StartTime=now+3seconds"]
                subprocess.run(update, env=slurm, capture_output=True)
        never.wait(1)
    pytest.fail(f"the job has not ended: {shown}")


# Several tasks stop together, at the next step at which something is due: here, the evaluations after steps 4 and 8.
@pytest.mark.parametrize(("tasks", "stops"), [(1, (3, 6)), (2, (4, 8))])
def test_a_job_that_is_stopped_twice_ends_as_an_undisturbed_run(project, slurm, tasks, stops):
    options = ["--set", "parallel=ddp"] if tasks > 1 else []
    dlpipe(project, slurm | {"UNDISTURBED": "yes"}, "run", "--runs", "whole", *options, ranks=tasks)

    job = dlpipe(
        project, slurm, "submit", "--gpus", "0", "--time", "0:10:00", *options, f"--sbatch=--ntasks-per-node={tasks}"
    )
    (ended,) = wait_for_end(job, slurm)

    said = next(project.glob("runs/points/slurm/*/*.out")).read_text()
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("COMPLETED", "0:0", "2"), said
    assert [said.count(f"after step {step}, with a checkpoint") for step in stops] == [1, 1], said
    (run,) = project.glob("runs/points/2*")
    assert_same_outcome(project / "whole/points/latest", run, "preempted twice")


def test_an_array_of_sweeps_runs_each_trial_once_and_only_the_stopped_task_again(project, slurm):
    job = dlpipe(project, slurm, "sweep", "--on", "slurm", "--gpus", "0", "--time", "0:10:00", "--tasks", "2")
    ended = wait_for_end(job, slurm)

    said = [path.read_text() for path in sorted(project.glob("runs/points/slurm/*/*.out"))]
    assert [(task["JobState"], task["ExitCode"]) for task in ended] == [("COMPLETED", "0:0")] * 2, said
    assert {task["ArrayTaskId"]: int(task["Restarts"]) > 0 for task in ended} == {"1": True, "2": False}
    assert len(list(project.glob("runs/points/2*"))) == 4
    tables = [json.loads(path.read_text()) for path in project.glob("runs/points/sweeps/2*/table.json")]
    assert tables
    assert [run["state"] for trial in tables[-1]["trials"] for run in trial["runs"]] == ["finished"] * 4
