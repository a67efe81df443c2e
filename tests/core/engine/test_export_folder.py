"""A run exported for dlpipe itself: used like the run, without it, and without its training."""

from __future__ import annotations

import json
import shutil
import tomllib

import pytest
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close

from dlpipe.commands.export import export as export_command
from dlpipe.commands.resume import resume as resume_command
from dlpipe.config.check import load_pipeline
from dlpipe.engine import export_folder as exporting
from dlpipe.engine.execute import run
from dlpipe.engine.export_folder import export_folder
from dlpipe.engine.inference import evaluate_run, open_run
from dlpipe.engine.prediction import predict
from dlpipe.errors import DlpipeError, InputError, RunFolderError
from dlpipe.registry.loading import load_plugins

PLUGIN = """
import torch
from torch import nn
from dlpipe import CallbackSpec, DataSpec, EvaluatorSpec, ModelSpec, hookimpl
from dlpipe.data import Columns, class_answer

class Points:
    text_items, known = True, None
    @property
    def splits(self):  # as those of a folder of images or recordings
        self.split("train")
        return "train", "dev", "test"
    @property
    def facts(self):
        return {"labels": self.state()["labels"]}
    def split(self, name):
        with open("points.txt") as file:
            points = torch.tensor([[float(line)] for line in file])
        return Columns({"points": points, "targets": (points[:, 0] > 0).long()})
    def encode(self, item): return {"points": torch.tensor([float(item)])}
    def present(self, item, prediction, probabilities):
        return class_answer(self.facts["labels"], prediction, probabilities)
    def state(self):
        if self.known is None:
            self.split("train")
            self.known = {"labels": ["below", "above"]}
        return self.known
    def restore(self, state): self.known = state
    def fingerprint(self): return open("points.txt").read()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(1, 64), nn.Linear(64, 2)
    def forward(self, points):
        return self.out(self.hidden(points).tanh())

class Tuned(nn.Module):
    def __init__(self, body: nn.Module):
        super().__init__()
        self.body, self.scale = body, nn.Parameter(torch.ones(2))
    def forward(self, points):
        return self.body(points) * self.scale

class Right:
    primary, goal = "accuracy", "max"
    def evaluate(self, model, examples):
        found = [(predictions == batch["targets"]) for batch, _, predictions in examples.predictions(model)]
        return {"accuracy": float(torch.cat(found).float().mean())}
    def write(self, folder): pass

class Watch:
    @hookimpl
    def dlpipe_run_end(self, run): pass

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points", facts=("labels",))]
@hookimpl
def dlpipe_models(): return [ModelSpec("net", ":Net", "net"), ModelSpec("tuned", ":Tuned", "net")]
@hookimpl
def dlpipe_evaluators(): return [EvaluatorSpec("right", ":Right", "right")]
@hookimpl
def dlpipe_callbacks(): return [CallbackSpec("watch", ":Watch", "watch")]
"""
STAGE = """
[{stage}data]
use = "toy.points"
[{stage}model]
use = "{model}"
{more}
[{stage}trainer]
use = "core.supervised"
steps = 30
batch_size = 3
optimizer = {{ use = "adam", lr = 0.02 }}
[{stage}evaluators.right]
use = "toy.right"
[{stage}callbacks.watch]
use = "toy.watch"
"""
TOP = 'name = "points"\ndevice = "cpu"\nplugins = ["./toy.py"]\n'


@pytest.fixture
def run_of(project_of, tmp_path):
    """Run a pipeline of stages (name, model, further keys of it)."""

    def run_of(*stages, name="points"):
        tables = "".join(
            STAGE.format(stage=f"stages.{stage}." if stage else "", model=model, more=more)
            for stage, model, more in stages
        )
        folder = project_of(PLUGIN, TOP.replace("points", name) + tables)
        (folder / "points.txt").write_text("\n".join(map(str, range(-6, 7))))
        registry = load_plugins()
        pipeline = load_pipeline("points.toml", registry, allow_local_plugins=True)
        return run(pipeline, registry, tmp_path / "runs").path

    return run_of


def opened(folder, **options):
    return open_run(folder, allow_local_plugins=True, **options)


def answers(trained):
    return list(predict(trained, [("1", "-2.5"), ("2", "3")]))


def export(folder, to, **options):
    """Export a run, and let it disappear with everything that it came from."""
    trained = opened(folder, **options)
    size = export_folder(trained, to)
    expected = answers(trained), evaluate_run(trained, "test")
    shutil.rmtree("runs")
    return size, expected


def test_the_export_answers_and_is_evaluated_like_the_run(run_of, tmp_path):
    folder = run_of(("", "toy.net", ""))
    checkpoint = next((folder / "checkpoints").glob("step-*"))
    trained_size = sum(file.stat().st_size for file in checkpoint.iterdir())

    size, (expected, metrics) = export(folder, tmp_path / "out")

    exported = opened(tmp_path / "out")
    assert evaluate_run(exported, "test") == metrics
    (tmp_path / "points.txt").unlink()
    assert answers(opened(tmp_path / "out")) == expected
    assert expected[1]["label"] == "above"
    weights = load_file(tmp_path / "out" / "checkpoints" / checkpoint.name / "weights.safetensors")
    assert_close(weights, dict(exported.model.state_dict()))
    assert size == sum(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert trained_size > 2 * sum(tensor.nbytes for tensor in weights.values())


def test_the_export_has_nothing_of_training(run_of, tmp_path):
    export(run_of(("", "toy.net", "")), tmp_path / "out")

    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    step = next(iter(name.split("/")[1] for name in names if name.startswith("checkpoints/")))
    assert names == {
        "toy.py",
        "resolved.toml",
        "data.json",
        "export.json",
        f"checkpoints/{step}/weights.safetensors",
        f"checkpoints/{step}/manifest.json",
    }
    resolved = tomllib.loads((tmp_path / "out" / "resolved.toml").read_text())
    assert "callbacks" not in resolved
    assert resolved["device"] == "auto"
    assert json.loads((tmp_path / "out" / "export.json").read_text())["format"] == "dlpipe"


def test_the_command_exports_a_run_with_a_local_plugin(run_of, tmp_path):
    folder = run_of(("", "toy.net", ""))
    arguments = [str(folder), "--format", "dlpipe", "--output", "out", "--allow-local-plugins"]

    export_command.main(arguments, obj=load_plugins(), standalone_mode=False)

    assert answers(opened(tmp_path / "out")) == answers(opened(folder))


def test_the_export_cannot_be_resumed(run_of, tmp_path):
    folder = run_of(("", "toy.net", ""))
    export(folder, tmp_path / "out")

    message = f"out is an export of the run {folder.name}: it has the weights for predict, evaluate and serve, but"
    with pytest.raises(RunFolderError, match=message):
        resume_command.main([str(tmp_path / "out"), "--allow-local-plugins"], standalone_mode=False)


def test_the_earlier_stages_that_it_builds_upon_come_along_and_others_do_not(run_of, tmp_path):
    folder = run_of(
        ("first", "toy.net", ""),
        ("unused", "toy.net", ""),
        ("second", "toy.tuned", 'body = { stage = "first" }'),
        ("later", "toy.net", ""),
    )

    _, (expected, _) = export(folder, tmp_path / "out", stage="second")

    assert sorted(path.name for path in (tmp_path / "out" / "stages").iterdir()) == ["first", "second"]
    assert answers(opened(tmp_path / "out")) == expected
    assert answers(opened(tmp_path / "out", stage="second")) == expected
    with pytest.raises(InputError, match="points has no stage 'later'; it has first, second"):
        opened(tmp_path / "out", stage="later")


def test_another_run_that_it_builds_upon_comes_along(run_of, tmp_path):
    base = run_of(("", "toy.net", ""), name="base")
    folder = run_of(("", "toy.tuned", f'body = {{ run = "{base}" }}'))

    _, (expected, _) = export(folder, tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "moved")

    (tmp_path / "points.txt").unlink()
    assert answers(opened(tmp_path / "moved")) == expected
    assert (tmp_path / "moved" / "runs" / "1" / "export.json").is_file()


def test_an_export_can_be_a_part_of_another_model(run_of, tmp_path):
    _, (expected, _) = export(run_of(("", "toy.net", "")), tmp_path / "out")

    folder = run_of(("", "toy.tuned", 'body = { run = "out" }'))

    assert [each["label"] for each in answers(opened(folder))] == [each["label"] for each in expected]


def test_a_damaged_export_is_refused(run_of, tmp_path):
    export(run_of(("", "toy.net", "")), tmp_path / "out")
    weights = next((tmp_path / "out").rglob("weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    with (
        pytest.raises(InputError, match="has no checkpoint yet"),
        pytest.warns(UserWarning, match="weights.safetensors is damaged"),
    ):
        opened(tmp_path / "out")


def test_nothing_is_exported_if_it_opens_as_another_model(run_of, tmp_path, monkeypatch):
    folder, others = run_of(("", "toy.net", "")), open_run

    def other(path, **options):
        trained = others(path, **options)
        nn.init.zeros_(trained.model.out.bias)
        return trained

    monkeypatch.setattr(exporting, "open_run", other)
    with pytest.raises(DlpipeError, match=r"not that of the run: out.bias differs. Nothing was exported"):
        export_folder(opened(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out exists; remove it, or choose another folder with --output FOLDER"):
        export_folder(opened(folder), tmp_path / "out")
