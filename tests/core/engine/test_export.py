"""Exported models: they compute what the run computes at any size, or nothing is exported."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from dlpipe.commands.export import export as export_command
from dlpipe.engine import export, export_formats
from dlpipe.engine.export import Difference, compare, export_run
from dlpipe.engine.export_inputs import Exported
from dlpipe.errors import DlpipeError, InputError, PluginError


def words(lengths):
    return {"tokens": torch.randint(1, 9, (len(lengths), max(lengths))), "lengths": torch.tensor(lengths)}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_packed_sequences_of_any_number_and_length_are_exported(toy_run, tmp_path, form):
    tagger = toy_run("tagger")
    inputs = words([9, 2])

    export_run(tagger, form, tmp_path / "out")

    if form == "torch":
        outputs = torch.export.load(tmp_path / "out" / "model.pt2").module()(**inputs)
    else:
        session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "out" / "model.onnx")
        feed = {name: tensor.numpy() for name, tensor in inputs.items()}
        outputs = dict(
            zip(["states", "last"], map(torch.from_numpy, session.run(["states", "last"], feed)), strict=True)
        )
    assert_close(outputs, tagger.model(**inputs, points=None), rtol=1e-4, atol=1e-6)
    written = json.loads((tmp_path / "out" / "export.json").read_text())
    assert written["inputs"] == [  # without points, which the tagger requires and does not use
        {"name": "tokens", "dtype": "int64", "shape": ["batch", "length"]},
        {"name": "lengths", "dtype": "int64", "shape": ["batch"]},
    ]
    assert written["outputs"] == [
        {"name": "states", "dtype": "float32", "shape": ["batch", "length", 6]},
        {"name": "last", "dtype": "float32", "shape": ["batch", 10]},
    ]
    assert written["data"] == {"use": "toy.words", "learned": {"words": ["(padding)", "one"]}}
    assert written["checked"]["largest_difference"] < 1e-6


def test_weights_are_exported_with_how_the_model_is_called(toy_run, tmp_path):
    line = toy_run("line")

    export_run(line, "safetensors", tmp_path / "out")

    assert_close(load_file(tmp_path / "out" / "model.safetensors"), dict(line.model.state_dict()))
    written = json.loads((tmp_path / "out" / "export.json").read_text())
    assert written["parameters"]["score.weight"] == {"dtype": "float32", "shape": [2, 3]}
    assert written["inputs"] == [{"name": "points", "dtype": "float32", "shape": ["batch", 3]}]  # and no targets


def test_a_model_that_depends_on_values_is_refused_in_one_line(toy_run, tmp_path):
    with pytest.raises(
        InputError,
        match=r'^\[model\] use = "toy.branch": Branch.forward cannot be exported: its computation depends on the values '
        r"of a tensor, not only on shapes \(.*toy.py:\d+, in forward\)\. Compute it without such a branch "
        r"\(torch.where\), or by another way if torch.compiler.is_exporting\(\); --format safetensors exports the "
        r"weights alone$",
    ):
        export_run(toy_run("branch"), "torch", tmp_path / "out")

    assert not list(tmp_path.iterdir())


def test_a_model_that_takes_a_size_for_a_constant_is_refused(toy_run, tmp_path):
    with pytest.raises(
        InputError,
        match=r'^\[model\] use = "toy.rows": Rows.forward cannot be exported: its size \'batch\' would become a constant, '
        r"but differs between batches. Take it from a tensor \(x.size\(1\)\) and not from a number or from values; "
        r"--format safetensors exports the weights alone$",
    ):
        export_run(toy_run("rows"), "torch", tmp_path / "out")


def test_an_export_that_computes_something_else_is_not_kept(toy_run, tmp_path, monkeypatch):
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
        export_run(toy_run("line"), "safetensors", tmp_path / "out")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("odd", [torch.nan, torch.inf])
def test_an_output_that_is_not_finite_in_the_run_either_does_not_hide_the_other_differences(odd):
    batches = [{"points": torch.tensor(row)} for row in ([odd, -4.0], [3.0, odd])]
    exported = Exported(None, "dev", batches, [{"outputs": batch["points"]} for batch in batches], {}, {})

    found = compare(exported, lambda inputs: {"outputs": inputs["points"] + 2**-10})

    assert found == Difference(2**-10, 2**-12)


def test_outputs_may_be_boolean():
    batches = [{"mask": torch.tensor([True, False])}]
    exported = Exported(None, "dev", batches, [{"outputs": batch["mask"]} for batch in batches], {}, {})

    assert compare(exported, lambda inputs: {"outputs": inputs["mask"]}) == Difference(0.0, 0.0)
    with pytest.raises(DlpipeError, match=r"the exported model differs from the run: outputs by 1 for mask \(2,\)"):
        compare(exported, lambda inputs: {"outputs": ~inputs["mask"]})


def test_an_export_with_a_fixed_size_is_not_kept(toy_run, tmp_path, monkeypatch):
    sizes = {"points": (5, 3)}
    trace = export_formats.trace
    monkeypatch.setattr(export, "trace", lambda model, example, inputs: trace(model, example, sizes))

    with pytest.raises(DlpipeError, match=r"the exported model cannot be run on points \(5, 3\): "):
        export_run(toy_run("line"), "torch", tmp_path / "out")

    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_kept(toy_run, tmp_path):
    with pytest.raises(InputError, match=r"exists; remove it, or choose another folder with --output FOLDER"):
        export_run(toy_run("line"), "torch", tmp_path)


def test_a_missing_extra_is_said_with_the_command_that_installs_it(toy_run, tmp_path, monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)

    with pytest.raises(
        PluginError,
        match=r"--format onnx needs onnx, onnxscript, onnxruntime, which are not installed; install with: pip install ",
    ):
        export_run(toy_run("line"), "onnx", Path(tmp_path / "out"))


def test_the_command_says_what_was_exported_and_how_far_it_is_from_the_run(toy_run, capsys):
    run = toy_run("line").run

    export_command.main([str(run), "--format", "safetensors", "--allow-local-plugins"], standalone_mode=False)

    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["inputs: points (batch, 3)", "outputs: outputs (batch, 2)"]
    assert said[2].startswith("17 batches of dev: largest difference 0.0e+00, 0.0e+00 of the largest output")
    assert said[3].startswith("exported step-00000001 to ")
    assert sorted(path.name for path in (run / "exports" / "safetensors").iterdir()) == [
        "export.json",
        "model.safetensors",
    ]
