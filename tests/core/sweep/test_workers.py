"""Which GPU the processes of a sweep see, with a made-up number of them: no GPU is used."""

from __future__ import annotations

from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dlpipe import compute
from dlpipe.config.check import load_pipeline
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.signals import StopSignals
from dlpipe.sweep import execution, workers
from dlpipe.sweep.workers import Task, work


@pytest.mark.parametrize(
    ("count", "visible", "gpus"),
    [
        (0, None, []),
        (3, None, ["0", "1", "2"]),
        (2, "5,7", ["5", "7"]),
        (1, "GPU-8932, GPU-11", ["GPU-8932"]),  # what comes after a device that does not exist is not used
        (0, "", []),
    ],
)
def test_gpus_are_named_as_the_batch_system_names_them(monkeypatch, count, visible, gpus):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert compute.visible_gpus() == gpus


@pytest.mark.parametrize(
    ("devices", "gpus"),
    [(["auto", "auto"], ["0", "1"]), (["cpu", "auto"], ["0", "1"]), (["cpu", "cpu"], []), (["auto", "cuda:1"], [])],
)
def test_gpus_are_shared_out_unless_the_pipelines_choose_theirs(monkeypatch, devices, gpus):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    assert execution._gpus([SimpleNamespace(settings=SimpleNamespace(device=device)) for device in devices]) == gpus


PLUGIN = """
import os
import torch
from torch import nn
from dlpipe import DataSpec, ModelSpec, hookimpl
from dlpipe.data import Columns

class Points:
    facts, splits = {}, ("train", "dev")
    def split(self, name): return Columns({"points": torch.zeros(8, 3), "targets": torch.zeros(8, dtype=torch.long)})
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
        with open("gpus.txt", "a") as file:
            file.write(f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']}\\n")
    def forward(self, points): return super().forward(points)

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points")]
@hookimpl
def dlpipe_models(): return [ModelSpec("line", ":Line", "a line")]
"""
PIPELINE = """
name = "points"
plugins = ["./toy.py"]
device = "cpu"
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
steps = 2
"""


@pytest.mark.slow
def test_each_process_sees_one_gpu(project_of, tmp_path):
    project_of(PLUGIN, PIPELINE)
    pipelines = [
        load_pipeline("points.toml", load_plugins(), [f"seed={seed}"], allow_local_plugins=True) for seed in range(3)
    ]

    ended = list(work([Task(each, tmp_path, kind="build") for each in pipelines], 2, StopSignals(), ["3", "5"]))

    assert sorted((index, outcome["state"]) for index, outcome in ended) == [(0, "built"), (1, "built"), (2, "built")]
    gpu_of = dict(line.split() for line in (tmp_path / "gpus.txt").read_text().splitlines())
    assert sorted(gpu_of.values()) == ["3", "5"]


def test_a_new_process_takes_the_gpu_that_the_fewest_use():
    def used(*gpus):
        return [SimpleNamespace(gpu=gpu) for gpu in gpus]

    assert workers._least_used(["3", "5"], used("3", "5", "3")) == "5"
    assert workers._least_used([], used(None)) is None


class Pretended:
    """A worker whose tasks end at once, each time in the next one of its states."""

    def __init__(self, gpu):
        self.gpu, self.process = gpu, SimpleNamespace(is_alive=lambda: True)
        self.connection, self._theirs = Pipe()
        self._theirs.send("ended")

    def outcome(self, *, stopping):
        self._theirs.send(self.connection.recv())
        return {"state": STATES[self._theirs.recv().pipeline].pop(0)}


STATES = {}


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"theirs": ["claimed", "finished"], "own": ["finished"]}, {"own": "finished", "theirs": "finished"}),
        ({"theirs": ["claimed", "claimed"], "own": ["finished"]}, {"own": "finished", "theirs": "claimed"}),
        ({"theirs": ["claimed"]}, {"theirs": "claimed"}),
        (
            {"first": ["claimed", "claimed", "finished"], "second": ["claimed", "failed"], "own": ["finished"]},
            {"own": "finished", "second": "failed", "first": "finished"},
        ),
    ],
)
def test_what_another_sweep_was_at_work_on_is_tried_again_after_the_own_tasks(monkeypatch, jobs, states, expected):
    monkeypatch.setattr(workers, "_Worker", Pretended)
    monkeypatch.setitem(globals(), "STATES", {name: list(each) for name, each in states.items()})
    names = list(states)

    ended = work([Task(name, Path()) for name in names], jobs, StopSignals(), wait_for_others=False)

    assert {names[index]: outcome["state"] for index, outcome in ended} == expected
    assert not any(STATES.values())
