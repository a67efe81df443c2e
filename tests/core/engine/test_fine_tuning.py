"""Whole runs that start from others, with parts that are frozen or learn at their own rate."""

import json
import shutil
from pathlib import Path

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.changes import IDENTITY
from dlpipe.engine.execute import resume, run
from dlpipe.engine.inference import evaluate_run, open_run
from dlpipe.engine.layers import layers_of
from dlpipe.engine.prediction import predict
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.checkpoint import Checkpoints, load_state
from dlpipe.testing import check_resume

pytestmark = pytest.mark.usefixtures("without_report")

PLUGIN = """
import torch
from torch import nn
from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, hookimpl
from dlpipe.data import Columns

class Points:
    splits = ("train", "dev", "test")
    def __init__(self, *, num_classes: int = 2): self.num_classes = num_classes
    @property
    def facts(self):
        return {"num_classes": self.num_classes, "labels": [f"class {number}" for number in range(self.num_classes)]}
    def split(self, name):
        points = torch.randn(40, 3, generator=torch.Generator().manual_seed(len(name)))
        return Columns({"points": points, "targets": points.argmax(1) % self.num_classes})
    def encode(self, item): return {"points": torch.tensor([float(part) for part in item.split()])}
    def present(self, item, prediction): return {"class": int(prediction)}
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return str(self.num_classes)

class Net(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU())
        self.head = nn.Linear(5, num_classes)
    def forward(self, points): return self.head(self.trunk(points))

class Accuracy:
    primary, goal = "accuracy", "max"
    def evaluate(self, model, examples):
        right = [(predicted == batch["targets"]).float() for batch, _, predicted in examples.predictions(model)]
        return {"accuracy": float(torch.cat(right).mean())}
    def write(self, folder): pass

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points", facts=("num_classes", "labels"))]
@hookimpl
def dlpipe_models(): return [ModelSpec("net", ":Net", "a net")]
@hookimpl
def dlpipe_evaluators(): return [EvaluatorSpec("accuracy", ":Accuracy", "share of right classes")]
"""
PIPELINE = """
name = "points"
plugins = ["./toy.py"]
device = "cpu"
[data]
use = "toy.points"
[model]
use = "toy.net"
[trainer]
use = "core.supervised"
steps = 6
batch_size = 8
log_every = 1
checkpoint_every = 2
[evaluators.right]
use = "toy.accuracy"
"""
STAGES = """
name = "staged"
plugins = ["./toy.py"]
[stages.pretrain.data]
use = "toy.points"
[stages.pretrain.model]
use = "toy.net"
[stages.pretrain.trainer]
use = "core.supervised"
steps = 2
[stages.tune.data]
use = "toy.points"
num_classes = 3
[stages.tune.model]
use = "toy.net"
start = { stage = "pretrain" }
freeze = ["trunk"]
[stages.tune.trainer]
use = "core.supervised"
steps = 2
"""
START = "model.start={ run = 'runs/points/latest' }"


@pytest.fixture
def project(project_of):
    """A folder with a pipeline and one finished run of it."""
    folder = project_of(PLUGIN, PIPELINE)
    (folder / "staged.toml").write_text(STAGES)
    run_it()
    return folder


def pipeline(*assignments, file="points.toml"):
    return load_pipeline(file, load_plugins(), assignments, allow_local_plugins=True)


def run_it(*assignments, file="points.toml", folder="runs", **options):
    return run(pipeline(*assignments, file=file), load_plugins(), Path(folder), **options)


def stopped(*assignments):
    """Return a run of 4 steps; `resume_it` continues to 6."""
    return run_it("trainer.steps=4", *assignments, folder="stopped")


def resume_it(folder, **options):
    resume(folder, load_plugins(), ["trainer.steps=6"], allow_local_plugins=True, **options)


def weights(folder, stage=None, checkpoint="last"):
    return open_run(folder.path, stage=stage, checkpoint=checkpoint, allow_local_plugins=True).model.state_dict()


def test_a_run_predicts_evaluates_and_resumes_after_what_it_started_from_is_gone(project):
    whole = run_it(START, folder="whole")
    half = stopped(START)
    shutil.rmtree("runs")

    resume_it(half)
    trained = open_run(half.path, checkpoint="last", allow_local_plugins=True)
    answers = list(predict(trained, [("item 1", "0 1 2")]))

    assert all(tensor.equal(weights(half)[name]) for name, tensor in weights(whole).items())
    assert answers[0]["class"] in (0, 1)
    assert 0 <= evaluate_run(trained, "test")["right/accuracy"] <= 1


def test_a_run_without_a_checkpoint_needs_what_it_starts_from(project):
    half = stopped(START, "trainer.checkpoint_every=100", "evaluators.right.splits=['test']")
    shutil.rmtree(half.path / "checkpoints")
    path = half.path / "provenance.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "first_checkpoint"}))
    shutil.rmtree("runs")

    with pytest.raises(InputError, match="model.start: .*there is no such run folder.*; train that run first"):
        resume_it(half)


def test_a_run_to_start_from_that_is_missing_is_refused_before_there_is_a_folder(project):
    with pytest.raises(InputError, match="model.start: .*no-such: there is no such run folder"):
        run_it("model.start={ run = 'no-such' }", folder="other")

    assert not (project / "other").exists() or not list((project / "other").rglob("resolved.toml"))


def test_a_file_to_start_from_that_is_missing_is_refused(project):
    with pytest.raises(InputError, match='model.start.file = ".*w.pth" cannot be read: No such file'):
        run_it("model.start={ file = 'w.pth' }")


def test_a_value_that_a_model_with_a_start_refuses_is_named_with_the_model(project):
    (project / "w.pth").touch()
    source = (project / "toy.py").read_text()
    (project / "toy.py").write_text(source.replace("self.trunk =", 'raise ValueError("too few"); self.trunk ='))

    with pytest.raises(InputError, match=r'^\[model\] use = "toy.net": too few$'):
        run_it("model.start={ file = 'w.pth' }", folder="other")


def test_a_resumed_run_that_started_from_another_is_the_same(project):
    assignments = [START.replace("runs/", f"{project}/runs/"), "model.freeze=['trunk.0']"]

    check_resume("points.toml", project / "checked", assignments=assignments, stops=(2,), allow_local_plugins=True)


def test_a_changed_start_is_a_change(project, capfd):
    half = stopped(START)
    first = json.loads((half.path / "provenance.json").read_text())[IDENTITY]

    parent = (project / "runs" / "points" / "latest").resolve()
    shutil.rmtree(parent)
    run_it("seed=5", folder="others").path.rename(parent)
    second = json.loads((stopped(START).path / "provenance.json").read_text())[IDENTITY]

    assert {name for name in first if first[name] != second.get(name)} == {"the trained model of model.start"}


def test_a_stage_starts_from_an_earlier_one_and_says_what_starts_anew(project, capfd):
    folder = run_it(file="staged.toml")

    first, second = (weights(folder, stage) for stage in ("pretrain", "tune"))
    assert all(second[name].equal(first[name]) for name in first if name.startswith("trunk."))
    told = capfd.readouterr().err
    assert (
        "start: 7 of 9 tensors from stage pretrain; new: head.weight, head.bias (num_classes: 2 there, 3 here)" in told
    )
    assert "Net: 48 parameters, 18 of them trained, on cpu" in told


def test_a_stage_is_run_again_if_the_stage_that_it_starts_from_has_changed(project, capfd):
    run_it(file="staged.toml")
    capfd.readouterr()

    run_it("stages.pretrain.trainer.steps=3", file="staged.toml", explain=True)

    assert "the trained model of stages.tune.model.start has changed" in capfd.readouterr().err


def test_frozen_parts_have_no_state_in_the_optimizer_and_are_not_decayed(project):
    decay = 'trainer.optimizer={ use = "adamw", weight_decay = 0.5 }'
    before = weights(run_it(START, "trainer.steps=1", decay, 'model.freeze=["trunk"]'))
    folder = run_it(START, decay, 'model.freeze=["trunk"]')

    latest = Checkpoints(folder.path / "checkpoints").latest()
    assert set(load_state(latest)["trainer"]["optimizer"]["state"]) == {0, 1}
    after = weights(folder)
    assert all(after[name].equal(before[name]) for name in after if name.startswith("trunk."))
    assert not after["head.weight"].equal(before["head.weight"])


def test_frozen_parts_stay_as_they_are_in_an_average_of_the_weights(project):
    start = weights(run_it(), checkpoint="best")

    after = weights(run_it(START, 'model.freeze=["trunk"]', "trainer.ema_decay=0.9"))

    assert all(after[name].equal(start[name]) for name in after if name.startswith("trunk."))


def test_a_part_with_a_small_rate_moves_less(project):
    sgd = 'trainer.optimizer={ use = "sgd", lr = 0.1 }'
    before = weights(run_it(sgd, "trainer.rates={ trunk = 1e-9 }"))
    moved = []
    for rates in ("{ head = 1.0 }", '{ trunk = 1e-3, "trunk.1" = 1.0 }'):
        after = weights(run_it(sgd, f"trainer.rates={rates}"))
        moved.append(float((after["trunk.0.weight"] - before["trunk.0.weight"]).norm()))

    assert moved[1] < 0.01 * moved[0]


def test_rates_are_the_same_after_a_resume(project):
    assignments = ["trainer.rates={ trunk = 0.1 }", 'trainer.schedule={ use = "one_cycle", max_lr = 0.1 }']

    check_resume("points.toml", project / "checked", assignments=assignments, stops=(3,), allow_local_plugins=True)


@pytest.mark.parametrize(
    ("assignment", "match"),
    [
        ("trainer.rates={ trunc = 0.1 }", r'\[trainer\] rates = "trunc": Net has no layer or parameter of this name'),
        ("model.freeze=['trunc']", r'\[model\] freeze = "trunc": Net has no layer .* Did you mean "trunk"\?'),
        ("model.freeze=['trunk', 'head']", r"\[model\] freeze = .*: no parameter of Net is left to train"),
        ("model.start={ run = 'runs/points/latest', skip = ['haed'] }", r'\[model\] start.skip = "haed": Net has no'),
    ],
)
def test_mistakes_that_only_the_model_shows_name_their_table(project, assignment, match):
    with pytest.raises(InputError, match=match):
        run_it(assignment)


def test_the_layers_of_a_run_and_of_a_pipeline_are_the_same(project):
    checked = pipeline('model.freeze=["trunk"]')
    folder = run_it('model.freeze=["trunk"]')

    found = layers_of(checked)

    assert layers_of(checked, folder) == found
    by_name = {layer["name"]: layer for layer in found[""]}
    assert by_name["trunk.0"] == {
        "name": "trunk.0",
        "kind": "Linear",
        "parameters": 20,
        "trained": 0,
        "shapes": {"weight": [5, 3], "bias": [5]},
    }
    assert (by_name[""]["parameters"], by_name[""]["trained"]) == (42, 12)


def test_the_layers_of_all_stages_are_found(project):
    found = layers_of(pipeline(file="staged.toml"))

    assert {name: layers[-1]["shapes"]["weight"] for name, layers in found.items()} == {
        "pretrain": [2, 5],
        "tune": [3, 5],
    }
