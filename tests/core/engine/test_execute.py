"""Whole runs, in this process: what they leave behind, how they end, and how they go on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dlpipe.config.check import load_pipeline
from dlpipe.engine import nan_origin
from dlpipe.engine.build import build_for_training
from dlpipe.engine.execute import dry_run, resume, run, run_or_resume
from dlpipe.engine.inference import evaluate_run, open_run
from dlpipe.engine.prediction import predict
from dlpipe.errors import CheckpointError, DlpipeError, InputError, NonFiniteError, RunFolderError
from dlpipe.registry.loading import load_plugins
from dlpipe.runs import folder as run_folder
from dlpipe.runs import stage_cache
from dlpipe.runs.atomic import locked
from dlpipe.runs.checkpoint import STATE, Checkpoints, load_state
from dlpipe.runs.folder import RunFolder
from dlpipe.runs.listing import summarize
from dlpipe.runs.manifests import MANIFEST
from dlpipe.testing import assert_same_outcome, check_resume
from dlpipe.training.supervised import Supervised

pytestmark = pytest.mark.usefixtures("without_report")

PLUGIN = """
import torch
from torch import nn
from dlpipe import CallbackSpec, DataSpec, EvaluatorSpec, ModelSpec, hookimpl
from dlpipe.data.columns import Columns

class Points:
    splits = ("train", "dev", "test")
    def __init__(self, *, count: int = 40, broken_fact: bool = False, draws: int = 0):
        torch.rand(draws)
        self.count, self.broken_fact = count, broken_fact
    @property
    def facts(self):
        return {} if self.broken_fact else {"num_inputs": 3, "num_classes": 2}
    def split(self, name):
        generator = torch.Generator().manual_seed(len(name))
        points = torch.randn(self.count, 3, generator=generator)
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def encode(self, item):
        return {"points": torch.tensor([float(part) for part in item.split()])}
    def present(self, item, prediction):
        return {"class": int(prediction)}
    def state(self):
        return {}
    def restore(self, state):
        pass
    def fingerprint(self):
        return str(self.count)

class Line(nn.Module):
    def __init__(self, num_inputs: int, num_classes: int, base: nn.Module | None = None, *, dropout: float = 0.1, scale: float = 1.0):
        super().__init__()
        if dropout == 0.9:
            raise ValueError("dropout of 0.9 is too much for three numbers")
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(num_inputs, num_classes)
        self.scale = scale
        if base is not None:
            self.load_state_dict(base.state_dict())
    def forward(self, points):
        return self.score(self.dropout(points)) * self.scale

class Accuracy:
    primary, goal = "accuracy", "max"
    def evaluate(self, model, examples):
        right = [(predicted == batch["targets"]).float() for batch, _, predicted in examples.predictions(model)]
        return {"accuracy": float(torch.cat(right).mean())}
    def write(self, folder):
        (folder / "seen.txt").write_text("looked at")

class Drawing(Accuracy):
    primary = None
    def evaluate(self, model, examples):
        return {}

class Recorder:
    @hookimpl
    def dlpipe_run_start(self, run):
        self.file = run.folder / "hooks.txt"
        self.file.write_text(f"start {run.resumed_step}\\n")
    @hookimpl
    def dlpipe_evaluated(self, step, split, metrics):
        with self.file.open("a") as file:
            file.write(f"evaluated {split} {step}\\n")
    @hookimpl
    def dlpipe_run_failed(self, step, error):
        with self.file.open("a") as file:
            file.write(f"failed {step} {type(error).__name__}\\n")
    @hookimpl
    def dlpipe_run_end(self, step):
        with self.file.open("a") as file:
            file.write(f"end {step}\\n")

@hookimpl
def dlpipe_data():
    return [DataSpec("points", ":Points", "points", facts=("num_inputs", "num_classes"))]
@hookimpl
def dlpipe_models():
    return [ModelSpec("line", ":Line", "a line")]
@hookimpl
def dlpipe_evaluators():
    return [EvaluatorSpec("accuracy", ":Accuracy", "share of right classes"), EvaluatorSpec("drawing", ":Drawing", "draws")]
@hookimpl
def dlpipe_callbacks():
    return [CallbackSpec("recorder", ":Recorder", "writes down what happens")]
"""

PIPELINE = """
name = "points"
seed = 3
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
epochs = 3
batch_size = 8
log_every = 2
optimizer = { use = "sgd", lr = 0.5 }
[evaluators.right]
use = "toy.accuracy"
[callbacks.recorder]
use = "toy.recorder"
"""


@pytest.fixture
def project(project_of):
    """A folder with a pipeline file and the local plugin that it uses."""
    return project_of(PLUGIN, PIPELINE)


def pipeline(*assignments, file="points.toml"):
    registry = load_plugins()
    return load_pipeline(file, registry, assignments, allow_local_plugins=True), registry


def run_it(project, *assignments, file="points.toml", **options) -> RunFolder:
    return run(*pipeline(*assignments, file=file), project / "runs", **options)


def lines(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("time", "seconds", "steps_per_second")} for record in records]


def test_the_log_begins_with_the_classes_of_each_split_and_what_is_suspicious(project):
    source = (project / "toy.py").read_text()
    (project / "toy.py").write_text(source.replace("manual_seed(len(name))", 'manual_seed(5 - (name == "dev"))'))

    folder = run_it(project)

    first = [line.split(" ", 2)[2] for line in (folder.path / "log.txt").read_text().splitlines()[1:6]]
    assert [line.partition(":")[0] for line in first[:1]] == ["toy.points"]
    assert [line.rpartition(":")[0] for line in first[1:4]] == [
        f"toy.points: {name} by class" for name in ("train", "dev", "test")
    ]
    assert first[4] == "warning: [data] all 40 examples of test also occur in train: is the same file used for both?"


def test_a_run_leaves_everything_that_decided_its_numbers(project):
    folder = run_it(project)

    assert folder.status()["state"] == "finished"
    names = {entry.name for entry in folder.path.iterdir()}
    assert names >= {"pipeline.toml", "resolved.toml", "provenance.json", "metrics.jsonl", "log.txt", "toy.py"}
    assert (folder.path / "pipeline.toml").read_text() == PIPELINE
    assert 'use = "sgd"' in (folder.path / "resolved.toml").read_text()
    assert (folder.path / "figures" / "right" / "seen.txt").read_text() == "looked at"
    assert (folder.path.parent / "latest").resolve() == folder.path
    provenance = json.loads((folder.path / "provenance.json").read_text())
    assert provenance["seed"] == 3
    assert provenance["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert provenance["threads"] == torch.get_num_threads()


def test_a_fact_of_the_data_cannot_have_another_value_in_the_table_of_the_model(project):
    with pytest.raises(InputError) as caught:
        run_it(project, "model.num_classes=3")

    assert str(caught.value) == ("[model] num_classes = 3: it is 2 in toy.points, which provides it; remove the key")
    assert run_it(project, "model.num_classes=2").status()["state"] == "finished"


def test_the_commands_for_a_run_with_local_plugins_have_the_permission_that_they_need(project):
    folder = run_it(project)

    assert folder.command("predict") == f"dlpipe predict runs/points/{folder.path.name} --allow-local-plugins"
    (folder.path / "toy.py").unlink()
    assert folder.command("resume") == f"dlpipe resume runs/points/{folder.path.name}"


def test_an_evaluator_without_a_split_to_judge_is_warned_of(project):
    source = (project / "toy.py").read_text()
    (project / "toy.py").write_text(source.replace('splits = ("train", "dev", "test")', 'splits = ("train",)'))

    folder = run_it(project)

    told = (
        "warning: [evaluators.right] judges dev and test, but the data has only train: nothing says how good the model"
    )
    assert told in (folder.path / "log.txt").read_text()


def test_metrics_are_named_by_split_evaluator_and_metric(project):
    folder = run_it(project)

    records = lines(folder.path)
    assert records[0] == {"step": 2, "epoch": 0.4} | {k: v for k, v in records[0].items() if k.startswith("train/")}
    assert [record["step"] for record in records if "dev/right/accuracy" in record] == [5, 10, 15]
    assert "test/right/accuracy" in records[-1]


def test_callbacks_see_the_run_from_start_to_end(project):
    folder = run_it(project)

    told = (folder.path / "hooks.txt").read_text().splitlines()
    assert told[0] == "start 0"
    assert told[1:4] == ["evaluated dev 5", "evaluated dev 10", "evaluated dev 15"]
    assert told[4].startswith("evaluated test")
    assert told[5:] == ["end 15"]


def test_the_same_pipeline_and_seed_give_the_same_numbers(project):
    first, second = run_it(project), run_it(project)

    assert lines(first.path) == lines(second.path)
    assert weights(first) == weights(second)


def test_another_seed_gives_other_numbers(project):
    assert lines(run_it(project).path) != lines(run_it(project, "seed=4").path)


def weights(folder):
    return (folder.path / "checkpoints" / "last" / "weights.safetensors").read_bytes()


def whole_run(folder, *assignments) -> RunFolder:
    """Run the pipeline in a folder of a module or session; the working directory is none of its business."""
    (folder / "toy.py").write_text(PLUGIN)
    (folder / "points.toml").write_text(PIPELINE)
    return run_it(folder, *assignments, file=folder / "points.toml")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Metrics and weights of a run that nothing has stopped."""
    whole = whole_run(tmp_path_factory.mktemp("whole"), "trainer.checkpoint_every=3")
    return lines(whole.path), weights(whole)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("step", range(1, 15))
def test_a_run_stopped_after_any_step_ends_as_if_it_never_had(project, monkeypatch, outcome, step):
    take = Supervised._step
    taken = 0

    def step_or_die(self, parts):
        nonlocal taken
        taken += 1
        if taken > step:
            raise Killed
        return take(self, parts)

    monkeypatch.setattr(Supervised, "_step", step_or_die)
    with pytest.raises(Killed):
        run_it(project, "trainer.checkpoint_every=3")
    monkeypatch.setattr(Supervised, "_step", take)
    stopped = RunFolder.open(project / "runs" / "points" / "latest")

    resume(stopped, load_plugins(), allow_local_plugins=True)

    assert stopped.status()["state"] == "finished"
    assert (lines(stopped.path), weights(stopped)) == outcome


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(project, capfd):
    folder = run_it(project)
    newest = (folder.path / "checkpoints" / "last").resolve()
    state = newest / "state.pt"
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])

    resume(folder, load_plugins(), allow_local_plugins=True)

    told = capfd.readouterr().err
    assert "state.pt has" in told
    assert "falling back to the previous one" in told
    assert "resuming after step 10" in told
    assert folder.status()["state"] == "finished"


def test_a_resumed_run_completes_the_replacement_of_a_checkpoint_and_its_links(project, capfd):
    folder = run_it(project)
    newest = (folder.path / "checkpoints" / "last").resolve()
    (folder.path / "checkpoints" / "last").unlink()
    newest.rename(newest.with_name(f".replaced-{newest.name}"))

    resume(folder, load_plugins(), allow_local_plugins=True)

    assert "resuming after step 15" in capfd.readouterr().err
    assert (folder.path / "checkpoints" / "last").resolve() == newest


def test_a_nan_names_its_step_and_where_it_began(project):
    with pytest.raises(NonFiniteError) as caught:
        run_it(project, "trainer.optimizer.lr=1e38", "model.scale=1e10", "trainer.log_every=7")

    message = str(caught.value)
    assert message.startswith("step ")
    assert "The first non-finite tensor is" in message
    assert "Try a lower learning rate (now 1e+38), or limit the gradients with max_grad_norm" in message
    latest = RunFolder.open(project / "runs" / "points" / "latest")
    assert latest.status()["state"] == "failed"
    assert "failed" in (latest.path / "hooks.txt").read_text()


def test_a_search_for_a_nan_that_fails_hides_neither_the_nan_nor_its_own_reason(project, monkeypatch):
    def fail(*arguments):
        raise IndexError("out of bounds")

    monkeypatch.setattr(nan_origin, "first_non_finite", fail)

    with pytest.raises(
        NonFiniteError,
        match=r"^step \d+: train/loss is nan\. The search for the first one failed: IndexError: out of bounds",
    ):
        run_it(project, "trainer.optimizer.lr=1e38", "model.scale=1e10", "trainer.log_every=7")


@pytest.mark.writes_report
def test_a_full_disk_while_saving_keeps_the_last_good_checkpoint(project, monkeypatch):
    from dlpipe.runs import checkpoint

    save, calls = torch.save, []

    def full(*arguments):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        save(*arguments)

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(
        CheckpointError, match=r"step 10 could not be saved: No space left on device; the checkpoint of"
    ):
        run_it(project)
    monkeypatch.setattr(checkpoint.torch, "save", save)

    stopped = RunFolder.open(project / "runs" / "points" / "latest")
    resume(stopped, load_plugins(), allow_local_plugins=True)

    assert stopped.status()["state"] == "finished"


def test_the_number_of_threads_that_is_written_down_is_the_one_that_was_used(project):
    before = torch.get_num_threads()
    try:
        folder = run_it(project, f"threads={before + 1}")
    finally:
        torch.set_num_threads(before)

    assert json.loads((folder.path / "provenance.json").read_text())["threads"] == before + 1


def test_what_the_data_draws_at_random_does_not_change_the_first_weights(project):
    losses = [dry_run(pipeline(f"data.draws={draws}")[0])["pipeline"]["first step"]["loss"] for draws in (0, 7)]

    assert losses[0] == losses[1]


def test_a_dry_run_builds_everything_and_keeps_nothing(project):
    told = dry_run(pipeline()[0])

    assert told["pipeline"]["parameters"] == 8
    assert told["pipeline"]["data"] == {"train": 40, "dev": 40, "test": 40}
    assert told["pipeline"]["first step"]["loss"] > 0
    assert not (project / "runs").exists()


def test_a_fast_run_takes_a_few_steps_of_everything(project):
    folder = run_it(project, fast=True)

    assert [record["step"] for record in lines(folder.path)] == [1, 2, 2, 3, 4, 4, lines(folder.path)[-1]["step"]]


def test_a_fast_run_has_the_learning_rates_of_the_whole_run(project):
    warm_up = ["trainer.warmup_steps=9", 'trainer.schedule={use="cosine_annealing"}', "trainer.log_every=1"]

    fast, whole = (lines(run_it(project, *warm_up, fast=fast).path) for fast in (True, False))

    rates = [[record["train/lr"] for record in records if "train/lr" in record] for records in (fast, whole)]
    assert rates[0] == rates[1][:4]


def test_a_value_that_a_component_refuses_is_named_with_its_table(project):
    with pytest.raises(InputError, match=r'\[model\] use = "toy.line": dropout of 0.9 is too much for three numbers'):
        run_it(project, "model.dropout=0.9")


def test_a_mistake_of_the_user_leaves_no_run_behind(project):
    good = run_it(project)
    with pytest.raises(InputError):
        run_it(project, "model.dropout=0.9")

    runs = project / "runs" / "points"
    assert sorted(entry.name for entry in runs.iterdir()) == sorted([good.path.name, "latest"])
    assert (runs / "latest").resolve() == good.path
    with pytest.raises(InputError):
        run(*pipeline("model.dropout=0.9"), project / "other")
    assert not [*(project / "other").iterdir()]


def test_a_fact_that_was_promised_and_is_not_told_is_the_plugins_fault(project):
    with pytest.raises(DlpipeError, match="its spec declares the fact 'num_inputs', but the data provides none"):
        run_it(project, "data.broken_fact=true")


def test_a_place_that_cannot_be_written_is_named(project):
    (project / "file").write_text("")

    with pytest.raises(RunFolderError, match=r"could not be created: .*; choose another place with --runs DIR"):
        run(*pipeline(), project / "file" / "runs")


def test_what_is_no_run_folder_is_named(project):
    with pytest.raises(RunFolderError, match="there is no such run folder"):
        open_run(project / "nowhere")
    with pytest.raises(RunFolderError, match="is not a run folder: it has no resolved.toml"):
        open_run(project)


def test_a_trained_run_answers_without_its_data(project, monkeypatch):
    folder = run_it(project)
    trained = open_run(folder.path, allow_local_plugins=True)
    monkeypatch.setattr(type(trained.built.data), "split", lambda self, name: pytest.fail("data was read"))

    answers = list(predict(trained, [("item 1", "5 5 5"), ("item 2", "-5 -5 -5")]))

    assert answers == [{"item": "5 5 5", "class": 1}, {"item": "-5 -5 -5", "class": 0}]


@pytest.mark.parametrize("goal", ["max", "min"])
def test_evaluating_again_gives_the_numbers_of_the_run_which_are_those_of_its_best_checkpoint(project, goal):
    folder = run_it(project, f"trainer.goal={goal}")  # "min": the best one is not the last one

    metrics = evaluate_run(open_run(folder.path, allow_local_plugins=True), "test")

    assert metrics == {"right/accuracy": lines(folder.path)[-1]["test/right/accuracy"]}


def test_a_split_that_is_not_there_is_named(project):
    trained = open_run(run_it(project).path, allow_local_plugins=True)

    with pytest.raises(InputError, match="the data has no split 'tset'; it has train, dev, test"):
        evaluate_run(trained, "tset")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": {}}, r"does not fit the trainer: ValueError: step is of type dict; expected int"),
        ({"step": 10**30}, r"does not fit the trainer: ValueError: step is a whole number of more than 64 bits"),
        ({"batches": {"epoch": 0, "seen": "x"}}, r"ValueError: batches.seen is of type str; expected int"),
        ({"batches": {}}, r"does not fit the trainer: KeyError: 'epoch'"),
        ({"batches": {"epoch": 0, "seen": 1.5}}, r"TypeError: 'float' object cannot be interpreted as an integer"),
    ],
)
def test_a_state_with_other_types_is_refused_when_it_is_loaded(project, change, message):
    folder = run_it(project)
    checkpoint = (folder.path / "checkpoints" / "last").resolve()
    state = load_state(checkpoint)
    torch.save(state | {"trainer": state["trainer"] | change}, checkpoint / STATE)
    content = (checkpoint / STATE).read_bytes()
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    manifest["files"][STATE] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (checkpoint / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(CheckpointError, match=rf"state.pt .*{message}"):
        resume(folder, load_plugins(), allow_local_plugins=True)


def test_a_first_step_that_fails_after_a_resume_is_blamed_on_the_checkpoint(project, monkeypatch):
    folder = run_it(project, "trainer.checkpoint_every=5", "trainer.keep=9")
    shutil.rmtree(folder.path / "checkpoints" / "step-00000015")

    def fail(self, batches):
        raise TypeError("moments of another shape")

    monkeypatch.setattr(Supervised, "_step", fail)
    message = r"step-00000010/state.pt does not fit the trainer: TypeError: moments of another shape"
    with pytest.raises(CheckpointError, match=message):
        resume(folder, load_plugins(), allow_local_plugins=True)


def test_a_run_with_a_link_is_not_opened_and_a_stage_with_one_not_reused(staged, tmp_path_factory):
    (elsewhere := tmp_path_factory.mktemp("elsewhere") / "log.txt").write_text("mine")
    folder = run_it(staged, file="staged.toml")
    (folder.stage("first") / "samples").symlink_to(elsewhere.parent)

    with pytest.raises(RunFolderError, match=r"stages/first/samples → .*: this entry of a run folder is a link"):
        RunFolder.open(folder.path)
    with pytest.raises(RunFolderError, match=r"stages/first/samples → .*: this entry of a run folder is a link"):
        run_it(staged, file="staged.toml")


def test_the_folder_of_all_runs_may_be_a_link(project, tmp_path_factory):
    (project / "runs").symlink_to(tmp_path_factory.mktemp("scratch"))

    run_it(project)

    assert RunFolder.open(project / "runs" / "points" / "latest").status()["state"] == "finished"


def test_changed_data_is_told_when_evaluating(project):
    folder = run_it(project)
    resolved = folder.path / "resolved.toml"
    resolved.write_text(resolved.read_text().replace("count = 40", "count = 41"))

    with pytest.warns(UserWarning, match="the data has changed since this run was trained"):
        evaluate_run(open_run(folder.path, allow_local_plugins=True), "test")


STAGES = """
name = "staged"
plugins = ["./toy.py"]
[stages.first.data]
use = "toy.points"
[stages.first.model]
use = "toy.line"
[stages.first.trainer]
use = "core.supervised"
steps = 4
log_every = 2
[stages.second.data]
use = "toy.points"
[stages.second.model]
use = "toy.line"
base = { stage = "first" }
[stages.second.trainer]
use = "core.supervised"
steps = 2
log_every = 1
[stages.second.evaluators.right]
use = "toy.accuracy"
"""


@pytest.fixture
def staged(project):
    """The same folder with a pipeline of two stages, of which the second starts from the first's model."""
    (project / "staged.toml").write_text(STAGES)
    return project


def test_a_stage_starts_from_the_model_of_an_earlier_one(staged, monkeypatch):
    folder = run_it(staged, file="staged.toml")
    first = open_run(folder.path, stage="first", allow_local_plugins=True).model.state_dict()
    checked, _ = pipeline(file="staged.toml")

    from dlpipe.engine.inference import open_stage

    second = checked.stages["second"]
    built = build_for_training(
        checked.settings, second, lambda reference: open_stage(checked, folder, reference.stage).built.trained
    )

    assert built.model is not None
    assert all(torch.equal(value, first[name]) for name, value in built.model.state_dict().items())
    assert second.model is not None
    assert second.model.references["base"].stage == "first"


def test_a_stage_starts_from_the_model_of_a_finished_run(staged):
    folder = run_it(staged)
    text = STAGES.replace('{ stage = "first" }', f'{{ run = "{folder.path}" }}')
    (staged / "from_run.toml").write_text(text)

    finished = run_it(staged, file="from_run.toml")

    assert finished.status()["state"] == "finished"


def test_the_permission_for_ones_own_plugins_is_none_for_those_of_another_run(staged):
    folder = run_it(staged)
    (folder.path / "toy.py").write_text(f"{PLUGIN}\n__import__('pathlib').Path('sprung').touch()\n")
    (staged / "from_run.toml").write_text(STAGES.replace('{ stage = "first" }', f'{{ run = "{folder.path}" }}'))

    advice = r"if you trust it, copy it next to that pipeline and add it to `plugins` there"
    with pytest.raises(InputError, match=rf'resolved.toml:\d+: plugins: "./toy.py" would run Python code.*; {advice}'):
        run_it(staged, file="from_run.toml")
    assert not (staged / "sprung").exists()

    (staged / "theirs").mkdir()
    shutil.copy(folder.path / "toy.py", staged / "theirs")
    (staged / "theirs" / "from_run.toml").write_text((staged / "from_run.toml").read_text())
    assert run_it(staged, file="theirs/from_run.toml").status()["state"] == "finished"


def test_a_stage_whose_inputs_did_not_change_is_not_run_again(staged, capfd):
    first = run_it(staged, file="staged.toml")
    again = run_it(staged, file="staged.toml")

    told = capfd.readouterr().err
    assert "stage first is not run again: nothing has changed since" in told
    assert "stage second is not run again" in told
    assert lines(again.stage("second")) == lines(first.stage("second"))


def test_a_stage_that_was_taken_over_is_listed_with_its_score_and_the_end_of_its_training(staged):
    folders = [run_it(staged, file="staged.toml").path for _ in range(2)]
    first, again = map(summarize, folders)
    trained, reused = (json.loads((folder / "provenance.json").read_text())["ended"] for folder in folders)

    assert first.stage == "second"
    assert (first.metric, first.step, first.total_steps) == ("test/right/accuracy", 2, 2)
    assert first.score is not None
    assert (again.metric, again.score, again.total_steps) == (first.metric, first.score, 2)
    assert again.state == "finished"
    assert reused == trained


def test_a_kill_right_after_a_stage_was_taken_over_loses_nothing_that_is_recorded_of_it(staged, monkeypatch):
    reuse = stage_cache.reuse_stage

    def reuse_and_die(found, folder):
        reuse(found, folder)
        if folder.name == "second":
            raise Killed

    first = run_it(staged, file="staged.toml")
    monkeypatch.setattr(stage_cache, "reuse_stage", reuse_and_die)
    with pytest.raises(Killed):
        run_it(staged, file="staged.toml")

    monkeypatch.setattr(stage_cache, "reuse_stage", reuse)

    again = RunFolder.open(staged / "runs" / "staged" / "latest")
    resume(again, load_plugins(), allow_local_plugins=True)

    trained, reused = (json.loads((folder.path / "provenance.json").read_text()) for folder in (first, again))
    assert (reused["stages"], reused["ended"]) == (trained["stages"], trained["ended"])


def test_explain_says_what_changed_and_later_stages_follow(staged, capfd):
    run_it(staged, file="staged.toml")
    run_it(staged, "stages.first.trainer.steps=5", file="staged.toml", explain=True)

    told = capfd.readouterr().err
    assert "stage first (1 of 2) is run: stages.first.trainer.steps was 4 and is 5 now" in told
    assert "stage second (2 of 2) is run: the trained model of stages.second.model.base has changed" in told


def test_a_resumed_run_does_not_go_through_its_finished_stages_again(staged, monkeypatch, capfd):
    take, taken = Supervised._step, 0

    def step_or_die(self, parts):
        nonlocal taken
        taken += 1
        if taken > 5:
            raise Killed
        return take(self, parts)

    monkeypatch.setattr(Supervised, "_step", step_or_die)
    with pytest.raises(Killed):
        run_it(staged, file="staged.toml")
    monkeypatch.setattr(Supervised, "_step", take)
    capfd.readouterr()

    stopped = RunFolder.open(staged / "runs" / "staged" / "latest")
    resume(stopped, load_plugins(), allow_local_plugins=True)

    told = capfd.readouterr().err
    assert "stage second" in told
    assert "stage first" not in told
    assert stopped.status()["state"] == "finished"


def test_what_a_fast_run_leaves_is_not_taken_for_the_result(staged, capfd):
    run_it(staged, file="staged.toml", fast=True)
    run_it(staged, file="staged.toml")

    assert "is not run again" not in capfd.readouterr().err


def test_another_model_behind_the_same_reference_runs_a_stage_again(staged, capfd):
    text = STAGES.replace('{ stage = "first" }', '{ run = "runs/staged/latest" }')
    (staged / "from_run.toml").write_text(text.replace('name = "staged"', 'name = "other"'))
    run_it(staged, file="staged.toml")
    run_it(staged, file="from_run.toml")
    run_it(staged, "stages.second.trainer.optimizer={use='sgd',lr=0.5}", file="staged.toml")
    capfd.readouterr()

    run_it(staged, file="from_run.toml", explain=True)

    told = capfd.readouterr().err
    assert "stage first is not run again" in told
    assert "stage second (2 of 2) is run: the trained model of stages.second.model.base has changed" in told


def test_fresh_runs_every_stage(staged, capfd):
    run_it(staged, file="staged.toml")
    run_it(staged, file="staged.toml", fresh=True)

    assert "is not run again" not in capfd.readouterr().err


def test_a_stage_that_a_run_does_not_have_is_named(staged):
    folder = run_it(staged, file="staged.toml")

    with pytest.raises(InputError, match="has no stage 'third'; it has first, second"):
        open_run(folder.path, stage="third", allow_local_plugins=True)


def test_a_second_process_on_one_run_is_refused_with_the_owners_name(project):
    folder = run_it(project)
    code = f"""
import sys, time
from pathlib import Path
from dlpipe.runs.folder import RunFolder
from dlpipe.training.supervised import Supervised
from dlpipe.testing import assert_same_outcome, check_resume
with RunFolder(Path({str(folder.path)!r})).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "locked\n"

        with pytest.raises(RunFolderError, match=rf"is in use by process {owner.pid} on .+; wait for it to end"):
            resume(folder, load_plugins(), allow_local_plugins=True)

        owner.kill()
        owner.wait()
    resume(folder, load_plugins(), allow_local_plugins=True)  # the dead leave no lock behind


def test_resume_auto_finds_the_newest_unfinished_run_of_the_same_pipeline(project):
    finished = run_it(project)
    stopped, other = run_it(project), run_it(project, "seed=4")
    stopped.set_status("running")  # as after a kill
    other.set_status("running")

    found = RunFolder.unfinished(project / "runs", pipeline()[0])

    assert found is not None
    assert found.path == stopped.path != finished.path
    assert RunFolder.unfinished(project / "runs", pipeline("seed=5")[0]) is None

    written = (stopped.path / "resolved.toml").read_text()
    (stopped.path / "resolved.toml").write_text(written.replace("min_delta = 0.0\n", ""))  # as by an earlier version
    assert RunFolder.unfinished(project / "runs", pipeline()[0]).path == stopped.path
    given = pipeline("trainer.patience=9", "trainer.min_delta=0.0")[0]
    assert RunFolder.unfinished(project / "runs", given) is None
    (stopped.path / "resolved.toml").write_text(written)

    finished.set_status("running")
    both = finished.path, stopped.path
    first, second = (path for path in RunFolder.paths(project / "runs", pipeline()[0]) if path in both)
    (first / "figures").mkdir(exist_ok=True)
    (first / "figures" / "link").symlink_to(project)
    with pytest.warns(UserWarning, match=r"figures/link → .* is a link; .*; this run is left out"):
        found = RunFolder.unfinished(project / "runs", pipeline()[0])
    assert found is not None
    assert found.path == second


STARTING = """
import sys
from pathlib import Path
from dlpipe.config.check import load_pipeline
from dlpipe.engine import execute
from dlpipe.registry.loading import load_plugins

def provenance(*arguments):
    print("found no run", flush=True)
    sys.stdin.readline()
    return recorded(*arguments)

def train(work, **options):
    print("working", flush=True)
    sys.stdin.read()

recorded, execute.provenance, execute.PipelineRun.run = execute.provenance, provenance, train
registry = load_plugins()
pipeline = load_pipeline("points.toml", registry, allow_local_plugins=True)
execute.run_or_resume(pipeline, registry, Path("runs"))
"""


def test_of_two_processes_that_resume_at_once_without_a_run_the_second_is_refused(project, monkeypatch):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STARTING], cwd=project, text=True, **pipes) as first:
        assert first.stdout.readline() == "found no run\n"

        def waiting(path, byte):
            first.stdin.write("\n")
            first.stdin.flush()
            return locked(path, byte)

        monkeypatch.setattr(run_folder, "locked", waiting)
        try:
            with pytest.raises(RunFolderError, match=rf"is in use by process {first.pid} on .+; wait for it to end"):
                run_or_resume(*pipeline(), project / "runs")
        finally:
            first.communicate()

    assert first.returncode == 0
    assert len(list(RunFolder.paths(project / "runs", pipeline()[0]))) == 1


def test_a_run_is_locked_before_others_can_find_it(project, monkeypatch):
    was_locked = []
    rename = Path.rename
    monkeypatch.setattr(
        Path, "rename", lambda path, target: was_locked.append(RunFolder(path).is_locked()) or rename(path, target)
    )

    with RunFolder.create(project / "runs", pipeline()[0], {}) as folder:
        assert folder.is_locked()

    assert was_locked == [True]
    assert not folder.is_locked()


def test_a_lock_of_somebody_else_does_not_keep_a_run_from_starting(project, monkeypatch):
    def locked_by_another(path, byte):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_folder, "locked", locked_by_another)

    with RunFolder.starting(project / "runs", pipeline()[0]):
        assert RunFolder.unfinished(project / "runs", pipeline()[0]) is None


def test_folders_of_runs_that_cannot_be_locked_are_named(project):
    (project / "runs" / ".lock").mkdir(parents=True)

    with pytest.raises(
        RunFolderError, match=r"runs/\.lock cannot be locked: Is a directory; choose another place with --runs DIR"
    ):
        run_or_resume(*pipeline(), project / "runs")


def test_check_resume_passes_for_a_trainer_that_remembers_everything(project):
    check_resume("points.toml", project / "runs", stops=(1, 7), allow_local_plugins=True)


def test_weights_that_differ_are_a_difference_even_if_no_metric_shows_it(project):
    whole, other = run_it(project), run_it(project)
    assert_same_outcome(whole.path, other.path, "the second run")

    checkpoints = other.path / "checkpoints"
    shutil.rmtree((checkpoints / "last").resolve())

    with pytest.raises(AssertionError, match="the second run: the final weights differ"):
        assert_same_outcome(whole.path, other.path, "the second run")


def test_check_resume_names_what_a_forgetful_trainer_forgot(project, monkeypatch):
    remember = Supervised.state_dict
    monkeypatch.setattr(Supervised, "state_dict", lambda self: remember(self) | {"batches": {"epoch": 0, "seen": 0}})

    with pytest.raises(AssertionError, match=r"stopped after step 7: at step 8, train/loss is .*, uninterrupted"):
        check_resume("points.toml", project / "runs", stops=(7,), allow_local_plugins=True)


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of its own, too small for many checkpoints."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=120k", "tmpfs", str(disk)]
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", *options], capture_output=True, check=False).returncode
    ):
        pytest.skip("a small disk can be mounted by root only")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.writes_report
def test_a_disk_that_is_really_full_costs_no_earlier_checkpoint(project, tiny_disk):
    with pytest.raises(
        DlpipeError, match=r"the checkpoint of step 15 could not be saved: No space left on device; the"
    ) as caught:
        run(*pipeline("trainer.keep=100", "trainer.epochs=20"), tiny_disk)

    assert caught.value.exit_code == 1
    stopped = RunFolder.open(tiny_disk / "points" / "latest")
    assert Checkpoints(stopped.path / "checkpoints").latest() is not None
    subprocess.run(["mount", "-o", "remount,size=9m", str(tiny_disk)], check=True)

    resume(stopped, load_plugins(), allow_local_plugins=True)

    assert stopped.status()["state"] == "finished"


@pytest.fixture(scope="module")
def runs_before(tmp_path_factory):
    """A folder of runs with one in it that was left undisturbed."""
    folder = tmp_path_factory.mktemp("before")
    whole_run(folder, "trainer.checkpoint_every=2")
    return folder / "runs"


@pytest.mark.writes_report
@pytest.mark.parametrize(
    ("code", "after"),
    [*((errno.EROFS, after) for after in range(2, 60, 7)), (errno.EDQUOT, 31), (errno.EIO, 38), (errno.ESTALE, 45)],
)
def test_a_disk_that_refuses_from_some_moment_on_ends_the_run_with_one_message(
    project, runs_before, monkeypatch, code, after
):
    shutil.copytree(runs_before, project / "runs", symlinks=True)
    whole = RunFolder.open(project / "runs" / "points" / "latest")
    writes = []

    def refusing(function, writing=lambda *arguments: True):
        def call(*arguments, **options):
            if writing(*arguments, *options.values()):
                writes.append(function)
                if len(writes) > after:
                    raise OSError(code, os.strerror(code))
            return function(*arguments, **options)

        return call

    opened_to_write = lambda path, mode="r", *rest: "w" in mode or "a" in mode  # noqa: E731
    monkeypatch.setattr(Path, "open", refusing(Path.open, opened_to_write))
    for name in ("write_text", "mkdir", "rename", "replace", "symlink_to"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))
    monkeypatch.setattr(torch, "save", refusing(torch.save))
    with pytest.raises(DlpipeError, match=os.strerror(code)) as caught:
        run_it(project, "trainer.checkpoint_every=2")
    monkeypatch.undo()
    monkeypatch.chdir(project)

    stopped = RunFolder.open(project / "runs" / "points" / "latest")
    if stopped.path == whole.path:  # it could not be begun, and nothing of it is left
        assert [path.name for path in (project / "runs" / "points").iterdir() if path.name != "latest"] == [
            whole.path.name
        ]
        return
    assert caught.value.exit_code == 1
    resume(stopped, load_plugins(), allow_local_plugins=True)
    assert_same_outcome(whole.path, stopped.path, "resumed")


@pytest.mark.writes_report
def test_a_clock_that_jumps_changes_nothing_but_times(project, monkeypatch):
    whole = run_it(project)
    jumps = iter([1e9, 5.0, 2e9, -1e9] * 100)

    monkeypatch.setattr(time, "time", lambda: next(jumps))
    check_resume("points.toml", project / "checked", stops=(3, 8), allow_local_plugins=True)
    jumped = run_it(project)

    assert_same_outcome(whole.path, jumped.path, "with jumps")


def test_an_evaluator_judges_on_the_splits_it_is_wanted_on(project):
    folder = run_it(project, "evaluators.late.use=toy.accuracy", 'evaluators.late.splits=["test"]')

    names = {name for record in lines(folder.path) for name in record if "accuracy" in name}
    assert names == {"dev/right/accuracy", "test/right/accuracy", "test/late/accuracy"}


def test_one_that_only_draws_leaves_the_choice_of_the_best_checkpoint_to_the_next(project):
    text = PIPELINE.replace("[evaluators.right]", '[evaluators.drawing]\nuse = "toy.drawing"\n[evaluators.right]')
    (project / "drawn.toml").write_text(text)

    folder = run_it(project, file="drawn.toml")

    assert RunFolder.open(folder.path).status()["state"] == "finished"
    assert (folder.path / "figures" / "drawing" / "seen.txt").exists()
    assert (folder.path / "checkpoints" / "best").exists()


def test_without_a_metric_to_compare_by_the_last_checkpoint_counts(project):
    folder = run_it(project, "evaluators.right.use=toy.drawing")

    assert not (folder.path / "checkpoints" / "best").exists()
    assert open_run(folder.path, allow_local_plugins=True).checkpoint.name == "step-00000015"


def test_data_may_ask_for_the_outputs_and_say_what_an_item_stands_for(project):
    plugin = PLUGIN.replace(
        "def present(self, item, prediction):\n        return {",
        "def expand(self, item):\n        return item.split(';')\n"
        "    def present(self, item, prediction, outputs):\n        return {'scores': len(outputs), ",
    )
    (project / "toy.py").write_text(plugin)
    trained = open_run(run_it(project).path, allow_local_plugins=True)

    answers = list(predict(trained, [("item 1", "5 5 5;-5 -5 -5"), ("item 2", "4 4 4")]))

    assert [answer.pop("item") for answer in answers] == ["5 5 5", "-5 -5 -5", "4 4 4"]
    assert answers == [{"scores": 2, "class": 1}, {"scores": 2, "class": 0}, {"scores": 2, "class": 1}]
