"""`dlpipe run --profile`: what is written, and that the run is the same with and without it."""

from __future__ import annotations

import csv
import gzip
import json
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from dlpipe.commands.resume import resume as resume_command
from dlpipe.commands.run import run as run_command
from dlpipe.config.check import load_pipeline
from dlpipe.engine import profiling
from dlpipe.engine.execute import run
from dlpipe.errors import Preempted
from dlpipe.registry.loading import load_plugins
from dlpipe.testing import comparable_metrics
from dlpipe.training.loop import Loop
from dlpipe.training.supervised import Supervised

PLUGIN = """
import torch
from torch import nn
from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, TrainerSpec, hookimpl
from dlpipe.data import Columns

class Points:
    facts, splits = {"num_inputs": 3}, ("train", "dev", "test")
    def split(self, name):
        points = torch.randn(40, 3, generator=torch.Generator().manual_seed(len(name)))
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Module):
    def __init__(self, num_inputs: int):
        super().__init__()
        self.hidden, self.score, self.dropout = nn.Linear(num_inputs, 5), nn.Linear(5, 2), nn.Dropout(0.5)
    def forward(self, points):
        return self.score(self.dropout(self.hidden(points)))

class Guess:
    steps_per_epoch = None
    def __init__(self, model):
        self.model = model
    def steps(self):
        while True:
            yield {"drawn": torch.rand(())}
    def log_values(self): return {}
    def on_score(self, score, goal): pass
    def state_dict(self): return {}
    def load_state_dict(self, state): pass

class Judge:
    primary, goal = "score", "max"
    def evaluate(self, model, examples):
        return {"score": float(torch.rand(()).erfinv())}
    def write(self, folder): pass

@hookimpl
def dlpipe_data():
    return [DataSpec("points", ":Points", "points", facts=("num_inputs",))]
@hookimpl
def dlpipe_models():
    return [ModelSpec("line", ":Line", "a line")]
@hookimpl
def dlpipe_trainers():
    return [TrainerSpec("guess", ":Guess", "draws numbers")]
@hookimpl
def dlpipe_evaluators():
    return [EvaluatorSpec("judge", ":Judge", "draws a number")]
"""
PIPELINE = """
name = "points"
device = "cpu"
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
steps = 40
batch_size = 8
log_every = 2
evaluate_every = 5
[evaluators.judge]
use = "toy.judge"
"""


@pytest.fixture
def project(project_of, monkeypatch):
    monkeypatch.setattr(profiling, "measured_peak", lambda compute: 1e12)
    return project_of(PLUGIN, PIPELINE)


def run_it(project, *assignments, **options):
    registry = load_plugins()
    pipeline = load_pipeline("points.toml", registry, assignments, allow_local_plugins=True)
    return run(pipeline, registry, project / "runs", **options).path


def read(folder):
    """Return the summary, the rows of the operators by name, and the names in the trace of a profile."""
    summary = json.loads((folder / "profile" / "summary.json").read_text())
    with (folder / "profile" / "operators.csv").open() as file:
        operators = {row["operator"]: row for row in csv.DictReader(file)}
    with gzip.open(folder / "profile" / "trace.json.gz", "rt") as file:
        trace = json.load(file)
    return summary, operators, [event.get("name") for event in trace["traceEvents"]]


def test_a_profiled_run_has_the_metrics_and_weights_of_one_without_a_profile(project):
    plain, profiled = run_it(project), run_it(project, profile=True)

    assert comparable_metrics(profiled) == comparable_metrics(plain)
    first, second = ((folder / "checkpoints/last/weights.safetensors").read_bytes() for folder in (plain, profiled))
    assert first == second
    assert not (plain / "profile").exists()


def test_the_profile_has_the_steps_and_not_what_lies_between_them(project):
    folder = run_it(project, profile=True)

    summary, operators, trace = read(folder)
    assert (summary["recorded_steps"], summary["timed_steps"]) == (10, 10)
    assert trace.count("step") == 10
    assert {"data", "forward_and_loss", "backward", "optimizer", "aten::erfinv"} <= set(trace)
    assert float(operators["aten::addmm"]["calls"]) == 2.0  # the two layers of the model
    assert "aten::erfinv" not in operators  # of the evaluation after step 5
    assert not {"step", "data", "rest"} & operators.keys()
    shares = [float(row["share"]) for row in operators.values()]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert [each["name"] for each in summary["top_operators"]] == list(operators)[:3]
    assert sum(summary["shares"].values()) == pytest.approx(1)
    assert summary["flops_per_step"] == 2 * 8 * (3 * 5 * 2 + 5 * 2 * 3)
    assert summary["flops_per_second"] == pytest.approx(summary["flops_per_step"] * summary["steps_per_second"])
    assert summary["share_of_measured_peak"] == pytest.approx(summary["flops_per_second"] / 1e12)
    log = (folder / "log.txt").read_text()
    assert "profile of 10 steps; " in log
    assert f"% of it waiting for data; most time in {next(iter(operators))}" in log
    assert "of the measured peak (1e+03 GFLOP/s, a product of 2048 × 2048 matrices in float32)" in log


@pytest.mark.parametrize(("steps", "recorded"), [(1, 1), (9, 6)])
def test_a_short_run_profiles_the_steps_that_there_are(project, steps, recorded):
    folder = run_it(project, f"trainer.steps={steps}", profile=True)

    summary, _, trace = read(folder)
    assert (summary["recorded_steps"], summary["timed_steps"]) == (recorded, 0)
    assert trace.count("step") == recorded
    assert sum(summary["shares"].values()) == pytest.approx(1)
    plural = "s" if recorded > 1 else ""
    assert f"profile of {recorded} step{plural} (of 10: then the run was over); " in (folder / "log.txt").read_text()
    assert "steps/s (while they were recorded)" in (folder / "log.txt").read_text()


def test_of_a_trainer_without_known_parts_the_steps_are_profiled_all_the_same(project):
    guess = project / "points.toml"
    guess.write_text(guess.read_text().replace("core.supervised", "toy.guess").replace("batch_size = 8\n", ""))

    folder = run_it(project, profile=True)

    summary, operators, _ = read(folder)
    assert summary["flops_per_step"] is summary["share_of_measured_peak"] is None
    assert set(summary["shares"].values()) == {None}
    assert "aten::rand" in operators
    assert "steps/s; time for data not known; most time in aten::" in (folder / "log.txt").read_text()


def test_a_profile_that_cannot_be_written_is_a_warning(project, monkeypatch):
    def full(path, rows):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(profiling, "write_csv", full)

    folder = run_it(project, "trainer.steps=4", profile=True)

    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert "warning: the profile could not be written: " in (folder / "log.txt").read_text()


@pytest.mark.slow
def test_a_run_that_is_stopped_while_it_records_is_resumed_with_a_profile(project, monkeypatch):
    take, taken = Supervised._step, []

    def step_or_stop(self, batches):
        taken.append(self)
        if len(taken) == 6:
            raise Preempted("stopped")
        return take(self, batches)

    monkeypatch.setattr(Supervised, "_step", step_or_stop)
    options = ["--allow-local-plugins", "--profile"]
    arguments = ["points.toml", *options, "--no-rehearsal", "--set", "trainer.checkpoint_every=1"]
    stopped = CliRunner().invoke(run_command, arguments, obj=load_plugins())
    folder = (project / "runs" / "points" / "latest").resolve()

    assert isinstance(stopped.exception, Preempted)
    assert not (folder / "profile").exists()
    assert not torch.autograd.profiler._is_profiler_enabled

    resumed = CliRunner().invoke(resume_command, [str(folder), *options], obj=load_plugins())

    assert resumed.exit_code == 0
    assert read(folder)[0]["recorded_steps"] == 10


def test_a_loop_without_a_profile_takes_the_steps_of_the_trainer_itself(project, monkeypatch):
    seen = []
    monkeypatch.setattr(Loop, "watch_steps", lambda self, watch: seen.append(watch))

    run_it(project, "trainer.steps=1")

    assert seen == []


def test_on_an_accelerator_the_shares_are_of_its_time():
    def event(name, start, cpu, device):
        return SimpleNamespace(
            name=name,
            device_type=SimpleNamespace(name="CPU"),
            is_user_annotation=False,
            time_range=SimpleNamespace(start=start, end=start + 100),
            self_cpu_time_total=cpu,
            self_device_time_total=device,
        )

    profiler = object.__new__(profiling.StepProfiler)
    profiler._compute, profiler.recorded = SimpleNamespace(device=torch.device("cuda")), 1
    events = [event(profiling.STEP, 0, 0, 0), event("launch", 10, 9000, 1000), event("product", 20, 1000, 3000)]
    profiler._profile = SimpleNamespace(events=lambda: events)

    assert profiler._operators() == [
        profiling.Operator("product", 1, 1.0, 3.0, 0.75),
        profiling.Operator("launch", 1, 9.0, 1.0, 0.25),
    ]
