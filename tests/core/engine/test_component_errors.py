"""What a component raises, at whatever moment of a run, becomes one message."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import dry_run, resume, run
from dlpipe.engine.inference import apply, evaluate_run, open_run
from dlpipe.engine.prediction import predict
from dlpipe.errors import ComponentError, DlpipeError, InputError, Interrupted, RunFolderError
from dlpipe.items import FailedItem
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.folder import RunFolder
from dlpipe.testing import comparable_metrics

# Every component asks `fail` at every moment whether it should raise what the file fail.txt says.
PLUGIN = """
import errno, json, warnings
from pathlib import Path
import torch
from torch import nn
from dlpipe import CallbackSpec, DataSpec, EvaluatorSpec, InputError, ModelSpec, TrainerSpec, hookimpl
from dlpipe.data import Columns

RAISES = {
    "key": lambda: {}["color"],
    "runtime": lambda: torch.zeros(32, 10) @ torch.zeros(20, 5),
    "memory": lambda: torch.zeros(10**14),
    "numpy memory": lambda: __import__("numpy").ones(10**15),
    "overflow": lambda: torch.zeros(10**30),
    "storage": lambda: nn.Linear(10**12, 10**12),
    "refuse": lambda: raise_(InputError("too bright")),
    "norm": lambda: nn.BatchNorm1d(3)(torch.ones(1, 3)),
    "disk": lambda: raise_(OSError(errno.ENOSPC, "No space left on device", "samples.png")),
    "quit": lambda: raise_(KeyboardInterrupt()),
    "warn": lambda: warnings.warn("the colors are odd"),
    "warn of a file": lambda: warnings.warn("caf\\udce9.png is odd"),
}
def raise_(error):
    raise error
def fail(moment):
    when, what = json.loads(Path("fail.json").read_text())
    if when == moment:
        RAISES[what]()

class Points:
    facts, splits = {"num_inputs": 3}, ("train", "dev", "test")
    def __init__(self):
        fail("data")
    def split(self, name):
        fail("split " + name)
        return Columns({"points": torch.randn(8, 3), "targets": torch.zeros(8, dtype=torch.long)})
    def state(self):
        fail("state")
        return {}
    def restore(self, state):
        fail("restore")
    def fingerprint(self):
        fail("fingerprint")
        return ""
    def encode(self, item):
        fail("encode")
        return {"points": torch.zeros(3)}
    def present(self, item, prediction):
        fail("present")
        return {}

class Line(nn.Module):
    def __init__(self, num_inputs: int):
        super().__init__()
        fail("model")
        self.score = nn.Linear(num_inputs, 2)
        self.steps = 0
    def forward(self, points):
        self.steps += 1
        if self.steps == 2:
            fail("later")
        fail("forward" if self.training else "forward in evaluation")
        return self.score(points)

class Judge:
    primary, goal = "score", "max"
    def __init__(self):
        fail("evaluator")
    def evaluate(self, model, examples):
        fail("evaluate")
        for _ in examples.predictions(model): pass
        return {"score": 1.0}
    def sample(self, folder, step):
        fail("sample")
    def write(self, folder):
        fail("write")

class Watch:
    def __init__(self):
        fail("callback")
    @hookimpl
    def dlpipe_run_end(self): pass

def play(model: nn.Module, data, compute, *, loud: bool = False):
    fail("play")
    yield {}

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points", facts=("num_inputs",), application=":play")]
@hookimpl
def dlpipe_models(): return [ModelSpec("line", ":Line", "a line")]
@hookimpl
def dlpipe_evaluators(): return [EvaluatorSpec("judge", ":Judge", "judges")]
@hookimpl
def dlpipe_callbacks(): return [CallbackSpec("watch", ":Watch", "watches")]
"""
PIPELINE = """
name = "points"
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
steps = 4
evaluate_every = 2
[evaluators.judge]
use = "toy.judge"
[callbacks.watch]
use = "toy.watch"
"""


@pytest.fixture
def project(project_of):
    return project_of(PLUGIN, PIPELINE)


def run_with(project, moment, what):
    """Run the pipeline, in which something is raised at one moment."""
    (project / "fail.json").write_text(json.dumps([moment, what]))
    registry = load_plugins()
    return run(load_pipeline("points.toml", registry, allow_local_plugins=True), registry, project / "runs").path


MOMENTS = {
    "data": '[data] use = "toy.points":',
    "split train": "[trainer]",
    "split dev": "[data]",
    "split test": "[data]",
    "state": "[data]",
    "fingerprint": "[data]",
    "model": '[model] use = "toy.line":',
    "forward": "[trainer]",
    "forward in evaluation": "[evaluators.judge]",
    "evaluator": '[evaluators.judge] use = "toy.judge":',
    "evaluate": "[evaluators.judge]",
    "callback": '[callbacks.watch] use = "toy.watch":',
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_whatever_raises_is_named_with_its_table_and_line(project, moment):
    with pytest.raises(ComponentError) as raised:
        run_with(project, moment, "key")

    line = next(number for number, text in enumerate(PLUGIN.splitlines(), start=1) if '"key": lambda' in text)
    assert str(raised.value).startswith(f"{MOMENTS[moment]} KeyError: 'color' (toy.py:{line}, in <lambda>).")
    assert "Run it again as 'dlpipe --debug …' for the traceback" in str(raised.value)
    assert isinstance(raised.value.__cause__, (KeyError, ComponentError))


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("runtime", "RuntimeError: mat1 and mat2 shapes cannot be multiplied (32x10 and 20x5) (toy.py:"),
        ("memory", "out of memory: 400000000000000 bytes could not be allocated; use a smaller batch_size"),
        ("numpy memory", "out of memory: 7.11 PiB could not be allocated; use a smaller batch_size"),
        ("overflow", "a number or a size is too large: "),
        ("storage", "a number or a size is too large: "),
        (
            "norm",
            "batch normalization needs more than one value per channel; use another batch_size, drop_last = true if "
            "the last batch of an epoch is too small, sync_batch_norm = true with several processes, or leave it out",
        ),
        ("disk", "samples.png: No space left on device; free some space"),
    ],
)
def test_what_the_system_cannot_do_is_said_in_plain_words(project, what, text):
    with pytest.raises(DlpipeError, match=re.escape(f"[trainer] {text}")):
        run_with(project, "forward", what)


def test_an_error_after_the_first_checkpoint_says_how_to_resume(project):
    with pytest.raises(
        ComponentError, match=r"The last checkpoint is kept: dlpipe resume runs/points/\S+ --allow-local-plugins$"
    ):
        run_with(project, "evaluate", "runtime")
    with pytest.raises(ComponentError, match=r"for the traceback$"):
        run_with(project, "forward", "runtime")


@pytest.mark.parametrize("moment", ["sample", "write"])
def test_what_an_evaluator_fails_to_write_is_a_warning(project, capfd, moment):
    folder = run_with(project, moment, "key")

    place = "samples/judge" if moment == "sample" else "figures/judge"
    told = capfd.readouterr().err
    assert re.search(
        rf"warning: \[evaluators.judge\] KeyError: 'color' \(toy.py:\d+, in <lambda>\)\. .*{place} are mis", told
    )
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert "test/judge/score" in (folder / "metrics.jsonl").read_text()


def latest(project):
    return (project / "runs" / "points" / "latest").resolve()


def test_an_evaluator_that_fails_costs_no_training(project):
    whole = run_with(project, "never", "key")
    with pytest.raises(ComponentError, match=r"^\[evaluators\.judge\] KeyError"):
        run_with(project, "evaluate", "key")
    stopped = latest(project)
    assert [path.name for path in (stopped / "checkpoints").glob("step-*")] == ["step-00000002"]
    (project / "fail.json").write_text('["never", ""]')

    resume(RunFolder.open(stopped), load_plugins(), allow_local_plugins=True)

    assert comparable_metrics(stopped) == comparable_metrics(whole)
    assert weights(stopped) == weights(whole)


def weights(folder):
    return {path.parent.name: path.read_bytes() for path in folder.glob("checkpoints/step-*/*.safetensors")}


def test_a_checkpoint_before_a_failed_evaluation_fails_again_if_nothing_is_mended(project):
    with pytest.raises(ComponentError):
        run_with(project, "evaluate", "key")

    with pytest.raises(ComponentError, match=r"^\[evaluators\.judge\] KeyError"):
        resume(RunFolder.open(latest(project)), load_plugins(), allow_local_plugins=True)


@pytest.mark.parametrize(("moment", "kept"), [("data", False), ("forward", False), ("later", True)])
def test_a_folder_is_removed_only_if_no_step_was_taken(project, moment, kept):
    with pytest.raises(InputError, match="too bright"):
        run_with(project, moment, "refuse")

    assert latest(project).exists() == kept


def test_an_interruption_in_a_component_is_no_error_of_it(project):
    with pytest.raises(Interrupted, match="^stopped at once by Ctrl-C while training; resume it with: dlpipe resume"):
        run_with(project, "forward", "quit")


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("restore", r'\[data\] use = "toy.points": KeyError'),
        ("encode", r"\[data\] KeyError"),
        ("forward in evaluation", r"\[model\] KeyError"),
        ("present", r"\[data\] KeyError"),
        ("fingerprint", r"\[data\] KeyError"),
        ("evaluate", r"\[evaluators.judge\] KeyError"),
        ("split test", r"\[evaluators.judge\] KeyError"),
        ("play", r"the application \S+:play: KeyError"),
    ],
)
def test_what_is_raised_in_the_use_of_a_run_is_named_too(project, moment, text):
    folder = run_with(project, "never", "key")
    (project / "fail.json").write_text(json.dumps([moment, "key"]))

    with pytest.raises(ComponentError, match=rf"^{text}: 'color' \(runs/points/\S+/toy.py:\d+, in <lambda>\)"):
        use(folder)


def use(folder):
    """Use a run for everything that it can be used for."""
    trained = open_run(folder, allow_local_plugins=True)
    for answer in predict(trained, [("item 1", "a")]):
        if isinstance(answer, FailedItem):
            raise answer.error
    evaluate_run(trained, "test")
    list(apply(trained, trained.stage.data.component.spec.application, {}))


def test_a_dry_run_names_the_component_too(project):
    (project / "fail.json").write_text(json.dumps(["forward", "key"]))

    with pytest.raises(ComponentError, match=r"\[trainer\] KeyError: 'color' \(toy.py:"):
        dry_run(load_pipeline("points.toml", load_plugins(), allow_local_plugins=True))


@pytest.mark.parametrize("moment", ["data", "split train", "model", "forward", "evaluate", "sample", "write"])
def test_a_warning_of_a_component_reaches_the_screen_the_log_and_the_provenance_once(project, moment, capfd):
    folder = run_with(project, moment, "warn")

    assert capfd.readouterr().err.count("warning: the colors are odd\n") == 1
    assert (folder / "log.txt").read_text().count("warning: the colors are odd\n") == 1
    assert json.loads((folder / "provenance.json").read_text())["warnings"] == ["the colors are odd"]


def test_a_warning_about_a_file_name_that_is_not_utf_8_is_kept(project):
    folder = run_with(project, "model", "warn of a file")

    assert json.loads((folder / "provenance.json").read_text())["warnings"] == [r"caf\udce9.png is odd"]


def test_a_second_run_in_one_process_warns_again(project, capfd):
    for _ in range(2):
        run_with(project, "model", "warn")

    assert capfd.readouterr().err.count("warning: the colors are odd\n") == 2


@pytest.mark.parametrize("count", range(1, 7))
def test_a_process_that_is_killed_while_it_creates_a_run_leaves_a_whole_run_or_none(project, monkeypatch, count):
    written, write = [], Path.write_text

    def write_text(path, *arguments, **options):
        written.append(path.name)
        if len(written) == count:
            raise KeyboardInterrupt  # like a kill, it is not followed by any tidying up in `create`
        return write(path, *arguments, **options)

    (project / "fail.json").write_text('["never", ""]')
    registry = load_plugins()
    pipeline = load_pipeline("points.toml", registry, allow_local_plugins=True)
    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises((KeyboardInterrupt, Interrupted)):  # the latter once there is a run folder
        run(pipeline, registry, project / "runs")
    monkeypatch.undo()
    monkeypatch.chdir(project)

    found = RunFolder.unfinished(project / "runs", pipeline)
    assert (found is None) == (count <= 5)
    if found:
        resume(found, load_plugins(), allow_local_plugins=True)
        assert found.status()["state"] == "finished"


def test_a_name_that_is_not_text_is_said_and_leaves_nothing(project, monkeypatch):
    folder = project / os.fsdecode(b"\xff")
    folder.mkdir()
    for name in ("toy.py", "points.toml"):
        shutil.copy(project / name, folder / name)
    monkeypatch.chdir(folder)
    registry = load_plugins()

    with pytest.raises(RunFolderError, match=r"a name that is not UTF-8 text: .*; rename it"):
        run(load_pipeline("points.toml", registry, allow_local_plugins=True), registry, project / "runs")

    assert [*(project / "runs" / "points").iterdir()] == []
