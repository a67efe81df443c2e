"""What a run will take, and what `dlpipe plan` refuses."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from dlpipe.commands.plan import plan as command
from dlpipe.config.check import load_pipeline
from dlpipe.config.settings import LoopOptions
from dlpipe.engine import measure, planning
from dlpipe.engine.budget import Costs, run_time
from dlpipe.engine.measure import by_doubling
from dlpipe.engine.planning import plan
from dlpipe.errors import DlpipeError, InputError
from dlpipe.launch import Launch
from dlpipe.ranks import Ranks
from dlpipe.registry.loading import load_plugins

PLUGIN = """
import torch
from torch import nn
from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, TrainerSpec, hookimpl
from dlpipe.data import Columns

class Points:
    facts, splits = {"num_inputs": 3}, ("train", "dev", "test")
    closed = False
    def close(self): self.closed = True
    def split(self, name):
        assert not self.closed
        count = {"train": 40, "dev": 300, "test": 7}[name]
        return Columns({"points": torch.ones(count, 3), "targets": torch.zeros(count, dtype=torch.long)})
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Module):
    def __init__(self, num_inputs: int, base: nn.Module | None = None, *, width: int = 5, room: int = 1000):
        super().__init__()
        self.room = room
        self.hidden, self.score = nn.Linear(num_inputs, width), nn.Linear(width, 2)
        self.register_buffer("seen", torch.zeros(4))
        self.hidden.bias.requires_grad_(False)
        self.dropout = nn.Dropout(0.1)
    def forward(self, points):
        if self.training and len(points) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.score(self.dropout(self.hidden(points)))

class Guess:
    steps_per_epoch, total_steps = 1, 1
    taken = 0
    def __init__(self, model):
        self.model = model
    def steps(self):
        while True:
            self.taken += 1
            assert self.taken == 1
            yield {"taken": torch.tensor(1.0)}
    def log_values(self): return {}
    def on_score(self, score, goal): pass
    def state_dict(self): return {}
    def load_state_dict(self, state): pass

class Judge:
    primary, goal = "count", "max"
    def evaluate(self, model, examples):
        return {"count": sum(len(predicted) for _, _, predicted in examples.predictions(model))}
    def write(self, folder): pass

@hookimpl
def dlpipe_data():
    return [DataSpec("points", ":Points", "points", facts=("num_inputs",))]
@hookimpl
def dlpipe_models():
    return [ModelSpec("line", ":Line", "a line")]
@hookimpl
def dlpipe_trainers():
    return [TrainerSpec("guess", ":Guess", "one step", finite=True)]
@hookimpl
def dlpipe_evaluators():
    return [EvaluatorSpec("judge", ":Judge", "counts")]
"""
HEAD = """
name = "points"
device = "cpu"
plugins = ["./toy.py"]
"""
STAGE = """
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
epochs = 3
batch_size = 8
max_grad_norm = 1.0
[evaluators.judge]
use = "toy.judge"
"""
STAGES = """
[stages.first.data]
use = "toy.points"
[stages.first.model]
use = "toy.line"
[stages.first.trainer]
use = "toy.guess"
[stages.second.data]
use = "toy.points"
[stages.second.model]
use = "toy.line"
base = { stage = "first" }
[stages.second.trainer]
use = "core.supervised"
steps = 6
"""


@pytest.fixture
def project(project_of):
    return project_of(PLUGIN, HEAD + STAGE)


@pytest.fixture
def dlpipe_plan(project, monkeypatch):
    """Run the command on the pipeline, with steps that are over soon."""
    monkeypatch.setattr(measure, "MOST", 5)

    def run(*arguments):
        arguments = ["points.toml", "--allow-local-plugins", *arguments]
        return CliRunner().invoke(command, arguments, obj=load_plugins())

    return run


def loaded(*assignments):
    return load_pipeline("points.toml", load_plugins(), assignments, allow_local_plugins=True)


def test_the_json_counts_exactly_and_its_times_add_up(dlpipe_plan, project):
    answer = dlpipe_plan("--json")

    found = json.loads(answer.stdout)
    stage = found["stages"]["pipeline"]
    assert stage["parameters"] == {"total": 32, "trainable": 27, "bytes": 4 * (32 + 4)}
    step, run = stage["step"], stage["run"]
    assert (step["measured"], step["warm_up"]) == (5, 3)
    assert all(seconds > 0 for seconds in step["parts"].values())
    assert sum(step["parts"].values()) == pytest.approx(step["seconds"])
    # Forward and both gradients of 8 examples through 3 × 5 and 5 × 2 weights; the data needs no gradient.
    assert step["flops"] == 2 * 8 * (3 * 5 * 2 + 5 * 2 * 3)
    assert (run["steps"], run["evaluations"], run["checkpoints"], run["ends_by"]) == (15, 3, 3, "steps")
    parts = [run[f"{part}_seconds"] for part in ("start", "training", "evaluation", "checkpoint")]
    assert run["total_seconds"] == found["total_seconds"] == pytest.approx(sum(parts))
    assert run["training_seconds"] == pytest.approx(15 * step["mean_seconds"])
    assert stage["checkpoint"]["bytes"] > stage["parameters"]["bytes"]
    assert run["checkpoint_bytes"] == 3 * stage["checkpoint"]["bytes"]  # of up to four, a short run saves three
    assert found["disk_bytes"] == run["checkpoint_bytes"] + run["log_bytes"] < found["free_bytes"]
    assert (stage["dev"]["examples"], stage["dev"]["measured"]) == (300, 300)
    assert stage["dev"]["metrics"] == {"dev/judge/count": 300.0}
    assert stage["test"]["metrics"] == {"test/judge/count": 7.0}
    assert stage["largest_batch"] | {"bytes_per_example": 0} == {
        "batch_size": 40, "method": "estimate", "limited_by": "examples", "bytes_per_example": 0
    }  # fmt: skip
    assert {entry.name for entry in project.iterdir()} <= {"toy.py", "points.toml", "__pycache__"}


def test_a_sweep_is_left_out_with_a_message(dlpipe_plan, project):
    (project / "points.toml").write_text(HEAD + STAGE + "[sweep]\n'trainer.epochs' = [1, 2]\n")

    assert "points.toml has a [sweep] of 2 trials; this plan is of the pipeline without it" in dlpipe_plan().stderr


def test_the_table_names_the_parts_of_a_step(dlpipe_plan):
    answer = dlpipe_plan()

    assert answer.exit_code == 0
    assert answer.stdout.startswith("toy.points, Line, core.supervised on cpu, float32, ")
    for word in ("forward and loss", "27 trained", "batch_size = 8; median of 5 after 3 others", "15 steps"):
        assert word in answer.stdout


def test_a_stage_starts_from_an_earlier_one_and_a_trainer_of_one_step_takes_one(project):
    (project / "points.toml").write_text(HEAD + STAGES)

    found = plan(loaded(), project / "runs")

    first, second = found.stages["first"], found.stages["second"]
    assert (first.step.measured, first.step.warm_up, first.run.steps) == (1, 0, 1)
    assert set(first.step.parts.values()) == {None}
    assert first.notes == ["toy.guess does not say what its steps consist of: their parts are not known"]
    assert first.largest_batch is first.dev is None
    assert (second.step.measured, second.run.steps) == (3, 6)
    assert second.notes == ["it starts from stage first; of a stage, the weights after a few steps were used"]
    assert found.total_seconds == first.run.total_seconds + second.run.total_seconds


def test_a_long_evaluation_is_measured_on_a_part_and_scaled(project, monkeypatch):
    monkeypatch.setattr(measure, "EVALUATION_SECONDS", 0.0)

    stage = plan(loaded(), project / "runs").stages[""]

    assert (stage.dev.examples, stage.dev.measured) == (300, 256)
    assert (stage.test.examples, stage.test.measured) == (7, 7)


def test_too_little_disk_is_refused_before_anything_is_saved(dlpipe_plan, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=500))
    monkeypatch.setattr(planning, "measure_checkpoint", None)

    error = dlpipe_plan().exception

    assert isinstance(error, DlpipeError)
    assert error.exit_code == 1
    assert str(error) == (
        "checkpoints need 1 kB, runs/ has 500 B free; free some space, choose another disk with --runs DIR, or keep "
        "fewer checkpoints ([trainer] keep)"
    )


@pytest.mark.parametrize(("free", "what"), [(10, "the gradients need 108 B"), (10**3, "a step needs 2 kB")])
def test_too_little_memory_is_refused(project, monkeypatch, free, what):
    monkeypatch.setattr(planning, "available_memory", lambda device: free)
    monkeypatch.setattr(planning.MemoryPeak, "read", lambda self: 2000)

    with pytest.raises(DlpipeError) as caught:
        plan(loaded(), project / "runs")

    assert caught.value.exit_code == 1
    shown = "10 B" if free == 10 else "1 kB"
    assert str(caught.value).startswith(f"[trainer] {what} of memory, cpu has {shown} free; use a smaller batch_size")


def test_several_processes_are_refused(project, monkeypatch):
    monkeypatch.setattr("dlpipe.ranks.launched", lambda: Launch())
    monkeypatch.setattr("dlpipe.ranks.current_ranks", lambda: Ranks(size=2))

    with pytest.raises(InputError, match="examines one process, but 2 were started; start it without torchrun or srun"):
        plan(loaded(), project / "runs")


@pytest.mark.parametrize(
    ("size", "count", "room", "expected"),
    [
        (8, None, 100, (64, "memory")),
        (8, 40, 100, (40, "examples")),
        (8, 1000, 15, (8, "memory")),
        (40, 40, 100, (40, "examples")),
    ],
)
def test_the_largest_batch_is_found_by_doubling(size, count, room, expected):
    found = by_doubling(size, count, lambda more: more <= room)

    assert (found.batch_size, found.limited_by) == expected
    assert found.method == "doubling"


@pytest.mark.parametrize(("room", "expected"), [(20, (16, "memory")), (1000, (40, "examples"))])
def test_on_a_gpu_steps_are_taken_with_larger_and_larger_batches(project, monkeypatch, room, expected):
    emptied = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    pipeline = loaded(f"model.room={room}")
    stage = pipeline.stages[""]
    data = measure.build_for_training(pipeline.settings, stage, None).data
    steps = measure.Steps(1.0, 1.0, 1, 0, {}, {}, flops=1, kept_bytes=1)

    found = measure.largest_batch(pipeline.settings, stage, None, data, SimpleNamespace(type="cuda"), steps)

    assert (found.batch_size, found.limited_by) == expected
    assert found.method == "doubling"
    assert len(emptied) >= 2


def test_on_a_cpu_the_largest_batch_is_estimated_if_a_step_has_the_loss_of_batches(project, monkeypatch):
    stage = loaded().stages[""]
    data = measure.build_for_training(loaded().settings, stage, None).data

    def largest(examples, memory=1000):
        monkeypatch.setattr(measure, "available_memory", lambda device: memory)
        steps = measure.Steps(1.0, 1.0, 1, 0, {}, {}, flops=1, kept_bytes=150, kept_examples=examples)
        return measure.largest_batch(loaded().settings, stage, None, data, torch.device("cpu"), steps)

    assert largest(3) == measure.LargestBatch(20, "estimate", "memory", 50.0)
    assert largest(3, memory=100) == measure.LargestBatch(8, "estimate", "memory", 50.0)  # as large as it is, it fits
    assert largest(None) is None


@pytest.mark.parametrize(
    ("options", "examples"),
    [
        (["batch_size=20"], 20),
        (["batch_size=33"], 7),  # that step has the last batch of an epoch
        (["batch_size=4", "gradient_accumulation_steps=5"], 4),
    ],
)
def test_what_an_example_keeps_does_not_depend_on_the_size_of_the_batches(project, options, examples):
    pipeline = loaded(*(f"trainer.{option}" for option in options), "model.width=500")
    components = measure.build_for_training(pipeline.settings, pipeline.stages[""], None)
    steps = measure.Steps(1.0, 1.0, 1, 0, {measure.BACKWARD: 1.0}, {})
    next(components.trainer.steps())  # so that the examined step is the fourth one

    found = measure.examine_step(pipeline.stages[""], components, steps)

    # inputs, the hidden layer after dropout and the mask of that, logits and class, in float32 and int64
    assert found.kept_examples == examples
    assert found.kept_bytes / examples == pytest.approx(3 * 4 + 2 * 500 * 4 + 2 * 4 + 8, rel=0.05)


def test_running_out_of_memory_is_an_error_of_the_run(project):
    with pytest.raises(
        DlpipeError, match=r"^\[trainer\] out of memory: 2.00 GiB could not be allocated; use a smaller"
    ) as e:
        plan(loaded("model.room=0"), project / "runs")

    assert e.value.exit_code == 1


def costs(**changes):
    known = {
        "start_seconds": 1.0, "step_seconds": 0.5, "step_metrics": {"loss": 0.0}, "dev_seconds": 2.0, "dev_metrics": {},
        "train_seconds": None, "train_metrics": {},
        "test_seconds": 3.0, "checkpoint_seconds": 0.25, "checkpoint_bytes": 1000,
    }  # fmt: skip
    return Costs(**known | changes)


@pytest.mark.parametrize(
    ("options", "per_epoch", "expected"),
    [
        ({"epochs": 3}, 10, (30, "steps", 15.0, 3, 9.0, 3, 0.75, 25.75)),
        ({"steps": 25}, 10, (25, "steps", 12.5, 3, 9.0, 3, 0.75, 23.25)),
        ({"steps": 25, "evaluate_every": 5, "checkpoint_every": 4}, None, (25, "steps", 12.5, 5, 13.0, 7, 1.75, 28.25)),
        ({"steps": 25, "minutes": 0.1}, None, (12, "minutes", 6.0, 1, 5.0, 1, 0.25, 12.25)),
        ({"steps": 24, "checkpoint_minutes": 0.05}, None, (24, "steps", 12.0, 1, 5.0, 4, 1.0, 19.0)),
    ],
)
def test_the_budget_decides_how_often_everything_happens(options, per_epoch, expected):
    options = LoopOptions(**options)

    found = run_time(options, per_epoch, options.budget.total_steps(per_epoch), costs())

    assert (
        found.steps, found.ends_by, found.training_seconds, found.evaluations, found.evaluation_seconds,
        found.checkpoints, found.checkpoint_seconds, found.total_seconds,
    ) == expected  # fmt: skip


def test_a_run_keeps_the_latest_checkpoints_the_best_and_the_one_that_is_being_saved():
    options = LoopOptions(steps=100, checkpoint_every=1, keep=4)

    with_best, without = (run_time(options, None, 100, costs(dev_seconds=seconds)) for seconds in (2.0, None))

    assert (with_best.kept_checkpoints, with_best.checkpoint_bytes) == (6, 6000)
    assert (without.kept_checkpoints, without.evaluations) == (5, 0)


def test_an_evaluation_of_training_examples_takes_its_time(project):
    both = plan(loaded("evaluators.judge.splits=['train','dev']"), project / "runs").stages[""]
    some = plan(loaded("evaluators.judge.splits=['train']", "evaluators.judge.train_examples=3"), project / "runs")

    assert (both.train.examples, both.dev.examples, both.test) == (40, 300, None)
    assert set(both.train.metrics) == {name.replace("dev/", "train/") for name in both.dev.metrics}
    assert (some.stages[""].train.examples, some.stages[""].dev) == (3, None)
    assert some.stages[""].run.evaluations == both.run.evaluations


def test_an_evaluation_on_train_and_dev_costs_both():
    found = run_time(LoopOptions(steps=30), 10, 30, costs(train_seconds=4.0))

    assert (found.evaluations, found.evaluation_seconds) == (3, 3 * (4.0 + 2.0) + 3.0)
