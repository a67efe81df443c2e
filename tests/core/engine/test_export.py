"""Exported models: they compute what the run computes at any size, or nothing is exported."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from dlpipe.config.check import load_pipeline
from dlpipe.engine import export, export_formats
from dlpipe.engine.execute import run
from dlpipe.engine.export import export_run
from dlpipe.engine.inference import open_run
from dlpipe.errors import DlpipeError, InputError, PluginError
from dlpipe.registry.loading import load_plugins

PLUGIN = """
import torch
from torch import nn
from dlpipe import DataSpec, InputError, ModelSpec, hookimpl
from dlpipe.data import Columns, Ragged

class Words:
    facts, splits, paddings = {}, ("train", "dev"), {"tokens": 0}
    def split(self, name):
        lengths = torch.arange(40) * 3 % 7 + 1
        tokens = torch.randint(1, 9, (int(lengths.sum()),), generator=torch.Generator().manual_seed(3))
        return Columns({"tokens": Ragged(tokens, lengths), "points": torch.rand(40, 3), "targets": lengths % 2})
    def encode(self, item):
        if not item.strip("123456789 "):
            tokens = torch.tensor([int(part) for part in item.split()])
            return {"tokens": tokens, "points": torch.zeros(3)}
        raise InputError(f"{item!r}: expected numbers from 1 to 9")
    def present(self, item, prediction): return {"item": item, "label": prediction.tolist()}
    def state(self): return {"words": ["(padding)", "one"]}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.net = nn.Embedding(9, 4), nn.LSTM(4, 3, batch_first=True)
    def forward(self, tokens, lengths, points):
        states = self.net(self.embed(tokens))[0]
        return states * (torch.arange(tokens.size(1)) < lengths.unsqueeze(1)).unsqueeze(2)

class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.score = nn.Linear(3, 2)
    def forward(self, points, targets=None):
        return self.score(points)

class Branch(Line):
    def forward(self, points):
        return self.score(points if points.sum() > 0 else -points)

@hookimpl
def dlpipe_data(): return [DataSpec("words", ":Words", "words")]
@hookimpl
def dlpipe_models():
    return [ModelSpec(name.lower(), f":{name}", name) for name in ("Tagger", "Line", "Branch")]
"""
PIPELINE = """
name = "toy"
plugins = ["./toy.py"]
device = "cpu"
[data]
use = "toy.words"
[model]
use = "toy.line"
[trainer]
use = "core.no_training"
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a function that opens a run of one of the models."""
    folder, runs = tmp_path_factory.mktemp("toy"), {}
    (folder / "toy.py").write_text(PLUGIN)
    (folder / "toy.toml").write_text(PIPELINE)

    def trained(model: str):
        if model not in runs:
            pipeline = load_pipeline(
                folder / "toy.toml", load_plugins(), [f'model.use="toy.{model}"'], allow_local_plugins=True
            )
            runs[model] = run(pipeline, load_plugins(), folder / "runs").path
        return open_run(runs[model], allow_local_plugins=True)

    return trained


def words(lengths):
    return {"tokens": torch.randint(1, 9, (len(lengths), max(lengths))), "lengths": torch.tensor(lengths)}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_a_tagger_is_exported_for_any_number_and_length_of_sequences(trained, tmp_path, form):
    tagger = trained("tagger")
    inputs = words([9, 2])

    export_run(tagger, form, tmp_path / "out")

    if form == "torch":
        outputs = torch.export.load(tmp_path / "out" / "model.pt2").module()(**inputs)["outputs"]
    else:
        session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "out" / "model.onnx")
        feed = {name: tensor.numpy() for name, tensor in inputs.items()}
        outputs = torch.from_numpy(session.run(["outputs"], feed)[0])
    assert_close(outputs, tagger.model(**inputs, points=None))
    written = json.loads((tmp_path / "out" / "export.json").read_text())
    assert written["inputs"] == [  # without points, which the tagger requires and does not use
        {"name": "tokens", "dtype": "int64", "shape": ["batch", "length"]},
        {"name": "lengths", "dtype": "int64", "shape": ["batch"]},
    ]
    assert written["outputs"] == [{"name": "outputs", "dtype": "float32", "shape": ["batch", "length", 3]}]
    assert written["data"] == {"use": "toy.words", "learned": {"words": ["(padding)", "one"]}}
    assert written["checked"]["largest_difference"] < 1e-6


def test_weights_are_exported_with_how_the_model_is_called(trained, tmp_path):
    line = trained("line")

    export_run(line, "safetensors", tmp_path / "out")

    assert_close(load_file(tmp_path / "out" / "model.safetensors"), dict(line.model.state_dict()))
    written = json.loads((tmp_path / "out" / "export.json").read_text())
    assert written["parameters"]["score.weight"] == {"dtype": "float32", "shape": [2, 3]}
    assert written["inputs"] == [{"name": "points", "dtype": "float32", "shape": ["batch", 3]}]  # and no targets


def test_a_model_that_depends_on_values_is_refused_in_one_line(trained, tmp_path):
    with pytest.raises(
        InputError,
        match=r'^\[model\] use = "toy.branch": Branch.forward cannot be exported: its computation depends on the values '
        r"of a tensor, not only on shapes \(.*toy.py:\d+, in forward\)\. Compute it without such a branch "
        r"\(torch.where\), or by another way if torch.compiler.is_exporting\(\); --format safetensors exports the "
        r"weights alone$",
    ):
        export_run(trained("branch"), "torch", tmp_path / "out")

    assert not list(tmp_path.iterdir())


def test_an_export_that_computes_something_else_is_not_kept(trained, tmp_path, monkeypatch):
    load = export_formats.load_weights
    monkeypatch.setattr(
        export,
        "load_weights",
        lambda *given: lambda inputs: {name: 1.1 * tensor for name, tensor in load(*given)(inputs).items()},
    )

    with pytest.raises(
        DlpipeError,
        match=r"the exported model differs from the run: outputs by \S+ for points \(5, 3\); expected at most 0.0001 \+ "
        r"0.001 of the output. Nothing was exported",
    ):
        export_run(trained("line"), "safetensors", tmp_path / "out")

    assert not list(tmp_path.iterdir())


def test_an_export_with_a_fixed_size_is_not_kept(trained, tmp_path, monkeypatch):
    sizes = {"points": (5, 3)}
    trace = export_formats.trace
    monkeypatch.setattr(export, "trace", lambda model, example, inputs: trace(model, example, sizes))

    with pytest.raises(DlpipeError, match=r"the exported model cannot be run on points \(5, 3\): "):
        export_run(trained("line"), "torch", tmp_path / "out")

    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_kept(trained, tmp_path):
    with pytest.raises(InputError, match=r"exists; remove it, or choose another folder with --output FOLDER"):
        export_run(trained("line"), "torch", tmp_path)


def test_a_missing_extra_is_said_with_the_command_that_installs_it(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)

    with pytest.raises(
        PluginError,
        match=r"--format onnx needs onnx, onnxscript, onnxruntime, which are not installed; install with: pip install ",
    ):
        export_run(trained("line"), "onnx", Path(tmp_path / "out"))
