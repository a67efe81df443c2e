"""The settings ``compile`` and ``tf32``."""

import copy
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from dlpipe.config.check import load_pipeline
from dlpipe.engine.build import build_for_training
from dlpipe.engine.compilation import CACHE, CompilationTime, compile_model, keep_compiled
from dlpipe.engine.execute import run
from dlpipe.errors import InputError, PipelineError
from dlpipe.registry.loading import load_plugins

#: 96 images in batches of 32: all batches are of one size.
PIPELINE = """
name = "compiled"
seed = 1
device = "cpu"
threads = 1
[data]
use = "vision.digits"
limit = 96
[model]
use = "core.mlp"
hidden = [8]
dropout = 0.0
[trainer]
use = "core.supervised"
steps = 12
log_every = 1
evaluate_every = 6
[evaluators.loss]
use = "core.loss"
"""


def pipeline_of(folder: Path, *assignments: str):
    (folder / "mine.toml").write_text(PIPELINE)
    return load_pipeline(folder / "mine.toml", load_plugins(), assignments)


def trained(folder: Path, *assignments: str) -> tuple[Path, list[float]]:
    """Return the folder of a run and its curve."""
    path = run(pipeline_of(folder, *assignments), load_plugins(), folder / "runs", fresh=True).path
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return path, [line[name] for line in lines for name in ("train/loss", "dev/loss/loss") if name in line]


def test_the_time_of_compiling_is_said_once(monkeypatch):
    monkeypatch.setenv(CACHE, "/there")
    monkeypatch.setattr(torch._dynamo.utils, "calculate_time_spent", lambda: {"total_wall_time": 12.34, "other": 1.0})
    said = []
    callback = CompilationTime(SimpleNamespace(message=said.append))

    callback.dlpipe_step_logged()
    callback.dlpipe_step_logged()

    assert said == ["compiled the model in 12.3 s; what can be used again is kept in /there"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++, which torch compiles with on a CPU")
def test_a_compiled_model_is_compiled_once_and_learns_the_same(tmp_path, monkeypatch):
    counts = torch._dynamo.utils.counters["stats"]
    counts.clear()
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(CACHE, "")  # which torch has set by now
    monkeypatch.delenv(CACHE)

    path, found = trained(tmp_path, "compile=true")

    assert counts["unique_graphs"] == 2, "one to train, one to evaluate"
    _, expected = trained(tmp_path)
    assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-5, rtol=1e-5)
    assert "compiled the model in" in (path / "log.txt").read_text()
    assert os.environ[CACHE] == str(tmp_path / "cache" / "inductor")
    assert any((tmp_path / "cache" / "inductor").iterdir())

    components = [
        build_for_training(pipeline_of(tmp_path, f"compile={each}").settings, pipeline_of(tmp_path).stages[""], None)
        for each in ("false", "true", "false")
    ]
    first, compiled, uncompiled = (each.trainer for each in components)
    losses = [float(step["loss"]) for step, _ in zip(first.steps(), range(3), strict=False)]
    for other in components[1:]:  # an uncompiled run continues compiled, with the same curve
        other.model.load_state_dict(first.model.state_dict())
        other.trainer.load_state_dict(copy.deepcopy(first.state_dict()))
    curves = [
        [float(step["loss"]) for step, _ in zip(each.steps(), range(5), strict=False)]
        for each in (compiled, uncompiled)
    ]
    assert type(components[1].model) is type(components[0].model)
    assert_close(torch.tensor(curves[0]), torch.tensor(curves[1]), atol=1e-5, rtol=1e-5)
    assert losses[0] > curves[0][-1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++, which torch compiles with on a CPU")
def test_sentences_of_many_lengths_are_compiled_once_if_they_are_padded_to_one(tmp_path, monkeypatch):
    counts = torch._dynamo.utils.counters["stats"]
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(CACHE, "")
    monkeypatch.delenv(CACHE)
    reviews = ["data={use='text.reviews', num_train=200, num_dev=10, num_test=10}"]
    network = ["model={use='text.cnn_classifier', num_filters=4, embed_dim=4, widths=[3]}"]
    fixed = ["trainer.pad_to_multiple_of=64", "trainer.drop_last=true"]

    torch._dynamo.reset()
    counts.clear()
    trained(tmp_path, *reviews, *network, *fixed, "compile=true")

    assert counts["unique_graphs"] == 2, "one to train, one to evaluate; without them, eight to train"


def test_a_stage_is_compiled_like_the_first_of_its_process(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path))
    monkeypatch.setenv("CXX", sys.executable)  # no compiler is needed
    graphs, compiled = [], torch.nn.Module.compile

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch.nn.Module, "compile", lambda model: compiled(model, backend=backend))

    counts = []
    for batch_size in (5, 5, 7):
        graphs.clear()
        keep_compiled()
        model = torch.nn.Linear(2, 3)
        compile_model(model, torch.device("cpu"))
        model(torch.ones(batch_size, 2))
        counts.append(len(graphs))

    assert counts == [1, 1, 1]


def test_tf32_on_a_cpu_is_a_warning(tmp_path):
    pipeline = pipeline_of(tmp_path, "tf32=true")

    with pytest.warns(UserWarning, match=r'^tf32 = true has no effect on device "cpu": only CUDA GPUs have TF32$'):
        build_for_training(pipeline.settings, pipeline.stages[""], None)

    build_for_training(pipeline_of(tmp_path).settings, pipeline.stages[""], None)  # which takes it back


def test_without_a_compiler_on_a_cpu_that_is_said(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")

    with pytest.raises(InputError, match=r'^compile = true: on a CPU, torch needs a C\+\+ compiler, and "no-such-'):
        compile_model(torch.nn.Linear(2, 3), torch.device("cpu"))


def test_a_trainer_that_does_not_compile_its_model_is_refused(tmp_path):
    pipeline_of(tmp_path, "compile=true")

    with pytest.raises(
        PipelineError,
        match=r'compile = true: \[trainer\] use = "core.no_training" does not compile its model; expected',
    ):
        pipeline_of(tmp_path, "compile=true", "trainer={use='core.no_training'}")
