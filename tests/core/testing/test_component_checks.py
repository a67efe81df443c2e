"""The conformance kit: a sound plugin passes, and each rule fails for a plugin that breaks it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unittest
from contextlib import nullcontext

import pytest

from dlpipe.errors import PipelineError
from dlpipe.registry.hooks import Lifecycle
from dlpipe.testing import component_checks
from dlpipe.testing.checks import COACH_RULE, RULES

PLUGIN = '''
import json, os, random, time
from pathlib import Path
from typing import Any
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from dlpipe import CallbackSpec, DataSpec, EvaluatorSpec, InputError, ModelSpec, RuleSpec, TrainerSpec, hookimpl
from dlpipe.coach import Finding
from dlpipe.data import Columns
from dlpipe.fields import Positive

class Points:
    """Points.

    Args:
        count: of each split.
    """
    splits = ("train", "dev", "test")
    facts = {"num_features": 2, "num_classes": 3}
    def __init__(self, *, count: Positive = 12) -> None:
        self.count, self.cells = count, [random.random()]
    def split(self, name):
        generator = torch.Generator().manual_seed(self.splits.index(name))
        return Columns({"points": torch.randn(self.count, 2, generator=generator), "targets": torch.arange(self.count) % 3})
    def encode(self, item):
        return {"points": torch.tensor([float(part) for part in item.split()])}
    def present(self, item, prediction):
        return {"class": int(prediction)}
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return f"{self.count} points"

class MLP(nn.Module):
    def __init__(self, num_features: int, num_classes: int, *, hidden_dim: Positive = 32) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(num_features, hidden_dim), nn.Linear(hidden_dim, num_classes)
    def forward(self, points: Tensor) -> Tensor:
        return self.last(self.first(points).relu())

class Descent:
    """Gradient descent."""
    steps_per_epoch = None
    def __init__(self, model, data, compute, seed: int, *, rate: float = 0.1) -> None:
        self.model, self.columns, self.rate, self.velocity = model, data.split("train").columns, rate, 0.0
    def steps(self):
        while True:
            loss = nn.functional.cross_entropy(self.model(self.columns["points"]), self.columns["targets"])
            self.model.zero_grad()
            loss.backward()
            self.velocity = 0.9 * self.velocity + self.rate
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter -= self.velocity * parameter.grad
            yield {"loss": loss.detach()}
    def log_values(self): return {}
    def on_score(self, score, goal): pass
    def state_dict(self): return {"velocity": self.velocity}
    def load_state_dict(self, state): self.velocity = state["velocity"]

class Accuracy:
    """Accuracy."""
    primary, goal = "accuracy", "max"
    def evaluate(self, model, examples):
        correct = total = 0
        for batch, _, predictions in examples.predictions(model):
            correct += int((predictions == batch["targets"]).sum())
            total += len(predictions)
        return {"accuracy": correct / total}
    def write(self, folder): (folder / "accuracy.txt").write_text("right")
    def sample(self, folder, step): (folder / f"{step}.txt").write_text("right")

class Watch:
    """Watch."""
    losses = 0
    @hookimpl
    def dlpipe_run_start(self, run): self.folder = run.folder
    @hookimpl
    def dlpipe_step_logged(self, metrics): self.losses += metrics["train/loss"]
    @hookimpl
    def dlpipe_run_end(self): (self.folder / "losses.txt").write_text(str(self.losses))

def slow(case):
    if case.metric("train/loss").last > 1:
        yield Finding("it is slow", "the last loss is above 1", "it takes 0.1 of the gradient")

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points", facts=("num_features", "num_classes"))]
@hookimpl
def dlpipe_models(): return [ModelSpec("mlp", ":MLP", "layers")]
@hookimpl
def dlpipe_trainers(): return [TrainerSpec("descent", ":Descent", "descends")]
@hookimpl
def dlpipe_evaluators(): return [EvaluatorSpec("accuracy", ":Accuracy", "counts")]
@hookimpl
def dlpipe_callbacks(): return [CallbackSpec("watch", ":Watch", "watches")]
@hookimpl
def dlpipe_rules(): return [RuleSpec("slow", ":slow", "descends slowly")]
'''
PIPELINE = """
name = "toy"
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.mlp"
hidden_dim = 32
[trainer]
use = "core.supervised"
steps = 3
[evaluators.share]
use = "toy.accuracy"
[callbacks.watch]
use = "toy.watch"
"""
#: Another one, with the trainer of the plugin.
DESCENT = PIPELINE.replace("core.supervised", "toy.descent")
#: A torch dataset whose items are dicts, instead of columns in memory.
DATASET = """
class Rows(Dataset):
    def __init__(self, columns): self.columns = columns
    def __len__(self): return len(self.columns["points"])
    def __getitem__(self, row): return {name: column[row] for name, column in self.columns.items()}
"""
#: A stream that can be read in parts, but gives the wrong ones.
STREAM = """class Stream(torch.utils.data.IterableDataset):
            def __iter__(self): return self.shard(0, 1)
            def shard(self, first, step):
                return ({"points": torch.zeros(2) + number} for number in range(first, 40, step + first))
        return Stream()
        """
SPLIT = 'return Columns({"points"'
FEATURES = "return self.last(self.first(points).relu())"
#: By case: the check that must fail, what breaks the plugin (old, new), and what the message says.
BROKEN = {
    "an application": (
        "toy.points: can be imported",
        ('"points", facts', '"points", application=":draw", facts'),
        r"dlpipe_local_toy_\w+:draw cannot be used",
    ),
    "no annotation": (
        "toy.mlp: gives the type of each parameter",
        ("hidden_dim: Positive = 32", "hidden_dim=32"),
        "does not say the type of hidden_dim, so any value is accepted; annotate it",
    ),
    "a default": (
        "toy.mlp: has valid defaults",
        ("hidden_dim: Positive = 32", "hidden_dim: Positive = 0"),
        "has the default hidden_dim = 0, which its own annotation refuses; expected a whole number above 0",
    ),
    "a record": (
        "toy.descent: names its own parameters in its record",
        ('"descends")', '"descends", budget=("moves",))'),
        'names "moves" in its record, which is not a parameter of',
    ),
    "a record of what may change": (
        "toy.descent: names its own parameters in its record",
        ('"descends")', '"descends", changeable=("moves.fast",))'),
        'names "moves.fast" in its record, which is not a parameter of',
    ),
    "a split that is drawn again": (
        "toy.points: gives the same split twice",
        ("torch.Generator().manual_seed(self.splits.index(name))", "None"),
        r"toy.toml: \[data\] split\('train'\) gives other examples when it is called again, at \['points'\]",
    ),
    "a stream with another part": (
        "toy.points: gives the same split twice",
        (SPLIT, STREAM + SPLIT),
        r"split\('train'\).shard\(1, 2\) gives other examples than every second one of shard\(0, 1\)",
    ),
    "a fingerprint of the time": (
        "toy.points: is the same when it is built again",
        ('f"{self.count} points"', "str(time.time_ns())"),
        r"fingerprint\(\) is '\d+' and, built again with the same parameters, '\d+'; expected the same",
    ),
    "content of the time": (
        "toy.points: is the same when it is built again",
        (".manual_seed(self.splits.index(name))", ".manual_seed(id(self))"),
        r"split\('train'\) has other examples when it is built again with the same parameters and the same seed",
    ),
    "facts that hold a function": (
        "toy.points: reaches worker processes",
        ('"num_classes": 3}', '"num_classes": 3, "count": lambda: 0}'),
        "facts cannot be sent to a worker process: PicklingError",
    ),
    "a dataset with an open file": (
        "toy.points: reaches worker processes",
        (SPLIT, "rows = Rows({}); rows.file = open(os.devnull); return rows\n        " + SPLIT),
        r"split\('train'\) cannot be sent to a worker process: TypeError: cannot pickle",
    ),
    "an item of another type": (
        "toy.points: encodes an item as its splits",
        ("for part in item.split()])}", "for part in item.split()]).double()}"),
        r"encode\(\) gives 'points' as torch.float64; expected torch.float32",
    ),
    "an item of another shape": (
        "toy.points: encodes an item as its splits",
        ("for part in item.split()])}", "for part in item.split()])[None]}"),
        r"encode\(\) gives 'points' with shape \(1, 2\); expected \(2,\)",
    ),
    "an item with another column": (
        "toy.points: encodes an item as its splits",
        ('return {"points": torch.tensor', 'return {"point": torch.tensor'),
        "encode\\(\\) gives the column 'point', which the splits do not have; they have points, targets",
    ),
    "an answer that is a tensor": (
        "toy.points: encodes an item as its splits",
        ("int(prediction)}", "prediction}"),
        r"present\(\) returned what cannot be written \(.*Tensor is not JSON serializable\); expected a dict of plain",
    ),
    "weights of the time": (
        "toy.mlp: has the same weights under one seed",
        (
            "nn.Linear(hidden_dim, num_classes)\n",
            "nn.Linear(hidden_dim, num_classes)\n        self.first.weight.data.fill_(time.time_ns() % 1_000_003)\n",
        ),
        r"state_dict\(\)\['first.weight'\] differs between two models that were built with the seed",
    ),
    "an output that is detached": (
        "toy.mlp: learns one batch by heart",
        (FEATURES, f"{FEATURES}.detach()"),
        "the loss of MLP does not depend on a parameter that can be trained; expected one with requires_grad",
    ),
    "an input that is not used": (
        "toy.mlp: learns one batch by heart",
        (FEATURES, FEATURES.replace("points", "0 * points")),
        r"the loss of one batch of 8 examples falls from 1\.\d+ to 1\.\d+ at best in 200 steps",
    ),
    "a velocity that is not saved": (
        "toy.descent: resumes exactly",
        ('state["velocity"]', "0.0"),
        r"stopped after step 1: at step 3, train/loss is .*, uninterrupted",
    ),
    "a metric that is not a number": (
        "toy.accuracy: gives finite metrics",
        ('{"accuracy": correct / total}', '{"accuracy": 0.5, "f1": float("nan")}'),
        r"toy.toml: \[evaluators.share\] f1 is nan on dev; expected a finite number",
    ),
    "a primary metric that is missing": (
        "toy.accuracy: gives finite metrics",
        ('primary, goal = "accuracy"', 'primary, goal = "f1"'),
        r"primary is 'f1', but evaluate\(\) returns accuracy",
    ),
    "counts that are kept": (
        "toy.accuracy: gives the same metrics twice",
        (
            '{"accuracy": correct / total}',
            '{"accuracy": self.__dict__.setdefault("all", []).append(1) or len(self.all)}',
        ),
        r"evaluate\(\) gives other metrics when it is called again for the same model, at \['dev/share/accuracy'\]",
    ),
    "a file that cannot be written": (
        "toy.accuracy: writes its files",
        ('folder / "accuracy.txt"', 'folder / "none" / "accuracy.txt"'),
        "none/accuracy.txt: No such file or directory",
    ),
    "a file for the report that is not there": (
        "toy.accuracy: writes its files",
        (
            '(folder / "accuracy.txt").write_text("right")',
            'return [__import__("dlpipe").report_items.ReportItem("none.txt", "Accuracy")]',
        ),
        r"ReportItem\(\"none.txt\"\): there is no such file in dev",
    ),
    "samples in one file": (
        "toy.accuracy: writes its files",
        ('f"{step}.txt"', '"sample.txt"'),
        "left 1 files after step 1 and 1 after step 2; expected files named by the step",
    ),
    "a callback that counts on a step": (
        "toy.watch: survives every lifecycle hook",
        ("losses = 0\n", "losses = []\n"),
        r"after dlpipe_run_start: callback \[callbacks.watch\] failed in dlpipe_step_logged",
    ),
    "a callback that counts on a run without failures": (
        "toy.watch: survives every lifecycle hook",
        ("str(self.losses))", "str(1 / self.losses))"),
        r"after dlpipe_run_start, dlpipe_run_failed: callback \[callbacks.watch\] failed in dlpipe_run_end",
    ),
    "a state that is not JSON": (
        "toy.points: passes the rehearsal of a run",
        ("def state(self): return {}", "def state(self): return {'at': Path()}"),
        r"toy.toml: \[data\] state\(\) cannot be written as JSON",
    ),
    "a state that cannot be saved": (
        "toy.descent: passes the rehearsal of a run",
        ('{"velocity": self.velocity}', '{"velocity": self.velocity, "at": Path()}'),
        r"toy.toml: \[trainer\] state_dict\(\)\['at'\] is of type PosixPath",
    ),
    "a state that is not restored": (
        "toy.descent: passes the rehearsal of a run",
        ('state["velocity"]', "0.0"),
        r"toy.toml: \[trainer\] state_dict\(\)\['velocity'\] is not the same after load_state_dict\(\) of a fresh",
    ),
    "a goal that is none": (
        "toy.accuracy: passes the rehearsal of a run",
        ('"accuracy", "max"', '"accuracy", "more"'),
        r'toy.toml: \[evaluators.share\] goal is "more"; expected "max" or "min"',
    ),
    "a rule of the coach that counts on points": (
        "toy.slow: copes with a training of which little is known",
        ('metric("train/loss").last', 'metric("train/loss").points[-1][1]'),
        r"IndexError: list index out of range \(.*toy.py:\d+, in slow\)",
    ),
    "a rule of the coach that divides by what may be 0": (
        "toy.slow: copes with a training of which little is known",
        (
            "if case.metric",
            "loss = case.metric('train/loss'); loss.known and loss.fall() / loss.tenths()[0]" + "\n    if case.metric",
        ),
        r"ZeroDivisionError: .*in slow\); it was asked about a training with metrics that are 0, no scores and a model that was",
    ),
    "a rule of the coach that counts on numbers in a line": (
        "toy.slow: copes with a training of which little is known",
        ("if case.metric", "[line['train/loss'] > 1 for line in case.records]" + "\n    if case.metric"),
        r"TypeError: .*with metrics that are NaN, no scores",
    ),
    "a rule of the coach that counts on a second point": (
        "toy.slow: copes with a training of which little is known",
        ("if case.metric", "case.curves.loss.points and case.curves.loss.points[1]" + "\n    if case.metric"),
        r"IndexError: .*with metrics of one point, no scores",
    ),
    "a rule of the coach that counts on layers": (
        "toy.slow: copes with a training of which little is known",
        ("if case.metric", "case.first and case.first.weights[0]" + "\n    if case.metric"),
        r"IndexError: .*with no metrics, no scores and a model without parameters",
    ),
    "a rule of the coach that counts on training examples": (
        "toy.slow: copes with a training of which little is known",
        ("if case.metric", "case.verdict == 'not learned' and case.scores.train > 0" + "\n    if case.metric"),
        r"TypeError: .*with no metrics, a score on dev alone",
    ),
    "a rule of the coach that counts on an examination": (
        "toy.slow: copes with a training of which little is known",
        ("if case.metric", "case.verdict == 'overfitting' and case.last.units" + "\n    if case.metric"),
        r"AttributeError: .*with no metrics, a score that is good on train alone and a model that was not examined",
    ),
    "a rule of the coach that changes its case": (
        "toy.slow: copes with a training of which little is known",
        ("if case.metric", "case.stage.trainer.values.pop('loss', None)" + "\n    if case.metric"),
        r":slow changed case.stage; expected a rule that only reads the case",
    ),
    "a rule of the coach that yields words": (
        "toy.slow: copes with a training of which little is known",
        ("if case.metric", "yield ('it is slow', 1)\n    if case.metric"),
        r":slow gave \('it is slow', 1\); expected Finding records",
    ),
    "a rule of the coach that takes nothing": (
        "toy.slow: can be imported",
        ("def slow(case)", "def slow()"),
        r":slow cannot be called with a Case: too many positional arguments; expected a function of one argument",
    ),
    "a parameter that appears late": (
        "toy.mlp: passes the rehearsal of a run",
        (FEATURES, f"self.late = nn.Parameter(torch.ones(1)); {FEATURES}"),
        r"toy.toml: \[model\] the parameter \"late\" appeared in the first step",
    ),
}
ITEMS = {"toy.points": "0.5 -0.2"}


@pytest.fixture
def checks_of(tmp_path, monkeypatch):
    """Return the checks of a plugin by name."""

    def checks_of(plugin=PLUGIN, pipelines=(PIPELINE, DESCENT), **options):
        (tmp_path / "toy.py").write_text(plugin)
        monkeypatch.chdir(tmp_path)
        files = ["toy.toml", "descent.toml"][: len(pipelines)]
        for file, text in zip(files, pipelines, strict=True):
            (tmp_path / file).write_text(text)
        options = {"items": ITEMS, "allow_local_plugins": True} | options
        return {str(check): check for check in component_checks("toy", pipelines=files, **options)}

    return checks_of


def test_a_sound_plugin_passes_each_check(checks_of):
    checks = checks_of()

    for check in checks.values():
        check()
    assert {check.rule for check in checks.values()} >= {COACH_RULE, *(rule for _, rule, _ in RULES)}


@pytest.mark.parametrize(("name", "change", "message"), BROKEN.values(), ids=BROKEN)
def test_a_rule_that_is_broken_is_found(checks_of, name, change, message):
    plugin = (PLUGIN + DATASET).replace(*change)
    check = checks_of(plugin, (DESCENT if "descent" in name else PIPELINE,))[name]

    assert plugin != PLUGIN + DATASET
    with pytest.raises(AssertionError, match=message) as caught:
        check()
    assert str(caught.value).startswith(f"{name}: ")


def test_each_rule_is_seen_failing():
    seen = {name.partition(": ")[2] for name, _, _ in BROKEN.values()}

    assert {COACH_RULE, *(rule for _, rule, _ in RULES)} <= seen


@pytest.mark.parametrize(
    ("change", "name", "expected"),
    [
        (("toy.watch", "core.tensorboard"), "toy.watch", '[callbacks.NAME] use = "toy.watch"'),
        (("toy.accuracy", "core.loss"), "toy.accuracy", '[evaluators.NAME] use = "toy.accuracy"'),
        (("", ""), "toy.descent", '[trainer] use = "toy.descent"'),
    ],
)
def test_a_component_that_no_pipeline_uses_is_named(checks_of, change, name, expected):
    checks = checks_of(pipelines=(PIPELINE.replace(*change),))

    with pytest.raises(AssertionError, match=re.escape(f"nothing has been tried; expected one with {expected}")):
        checks[f"{name}: is used by a pipeline"]()
    assert not [check for check in checks.values() if check.subject == name and check.rule == "resumes exactly"]


def test_without_pipelines_nothing_is_used(installed):
    checks = installed("@hookimpl\ndef dlpipe_models(): return [ModelSpec('far', 'nowhere:Far', 'far')]")

    with pytest.raises(AssertionError, match=re.escape('[model] use = "kitted.far"')):
        checks["kitted.far: is used by a pipeline"]()


def test_the_rehearsal_blames_the_component_that_is_the_cause(checks_of):
    checks = checks_of(PLUGIN.replace('"accuracy", "max"', '"accuracy", "more"'), (PIPELINE,))

    for name in ("points", "mlp"):
        checks[f"toy.{name}: passes the rehearsal of a run"]()
    with pytest.raises(AssertionError, match="goal is"):
        checks["toy.accuracy: passes the rehearsal of a run"]()


@pytest.mark.parametrize(
    "change",
    [
        ("self.first(points)", "nn.functional.dropout(self.first(points), 0.3, self.training)"),
        ("self.first(points)", "0.01 * self.first(points)"),
        ("self.last(self.first(points).relu())", "10 * self.last(self.first(points).relu()) - 100"),
    ],
    ids=["dropout", "small", "large"],
)
def test_a_model_that_learns_less_easily_still_learns_a_batch(checks_of, change):
    plugin = PLUGIN.replace(*change)

    checks_of(plugin, (PIPELINE,))["toy.mlp: learns one batch by heart"]()

    assert plugin != PLUGIN


def test_a_stage_that_starts_from_another_is_built_with_an_untrained_model(checks_of):
    tuned = """
class Tuned(nn.Module):
    def __init__(self, num_classes: int, *, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.last = encoder, nn.Linear(num_classes, num_classes)
    def forward(self, points: Tensor) -> Tensor:
        return self.last(self.encoder(points))
"""
    plugin = PLUGIN.replace("class Descent", f"{tuned}\nclass Descent").replace(
        '[ModelSpec("mlp"', '[ModelSpec("tuned", ":Tuned", "on another"), ModelSpec("mlp"'
    )
    tables = re.sub(r"(?s)^.*?(?=\[data\])", "", PIPELINE)
    first, second = (
        tables.replace("\n[", f"\n[stages.{name}.").replace("[data]", f"[stages.{name}.data]", 1) for name in "ab"
    )
    second = second.replace('"toy.mlp"\nhidden_dim = 32', '"toy.tuned"\nencoder = { stage = "a" }').replace(
        "core.supervised", "toy.descent"
    )
    checks = checks_of(plugin, (f'name = "toy"\nplugins = ["./toy.py"]\n{first}\n{second}',))

    assert "toy.tuned: has the same weights under one seed" in checks
    for check in checks.values():
        check()


def test_an_expected_failure_passes_as_long_as_the_rule_is_broken(checks_of):
    name = "toy.mlp: has valid defaults"
    reasons = {name: "0 means none"}
    broken = PLUGIN.replace("hidden_dim: Positive = 32", "hidden_dim: Positive = 0")

    checks_of(broken, expected_failures=reasons)[name]()
    with pytest.raises(AssertionError, match=f'"{name}" passes now; remove it from expected_failures'):
        checks_of(expected_failures=reasons)[name]()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"expected_failures": {"toy.mpl: has valid defaults": "why"}},
            r"""expected_failures names 'toy.mpl: has valid defaults', which does not exist. Did you mean "toy.mlp: has v""",
        ),
        ({"items": {"toy.point": "1 2"}}, "items names 'toy.point', which does not exist. Did you mean"),
    ],
)
def test_a_name_that_no_check_has_is_an_error_at_once(checks_of, options, message):
    with pytest.raises(ValueError, match=message):
        checks_of(**options)


def test_a_pipeline_with_mistakes_is_an_error_at_once(checks_of):
    with pytest.raises(PipelineError, match="no plugin offers this model"):
        checks_of(pipelines=(PIPELINE.replace("toy.mlp", "toy.mpl"),))


def test_the_pipelines_are_changed_by_the_assignments(checks_of):
    with pytest.raises(PipelineError, match="hidden_dim = 0: expected a whole number above 0"):
        checks_of(assignments=["model.hidden_dim=0"])


def test_a_model_with_another_trainer_need_not_learn_a_batch(checks_of):
    checks = checks_of(pipelines=(DESCENT,))

    assert "toy.mlp: learns one batch by heart" not in checks
    assert "toy.points: encodes an item as its splits" not in checks_of(items=None)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a plugin `kitted` and return its checks by name."""

    def installed(module: str, **options):
        folder = tmp_path / "site"
        (folder / "kitted-1.0.dist-info").mkdir(parents=True, exist_ok=True)
        (folder / "kitted-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: kitted\nVersion: 1.0\n")
        (folder / "kitted-1.0.dist-info" / "entry_points.txt").write_text("[dlpipe.plugins]\nkitted = kitted_plugin\n")
        (folder / "kitted_plugin.py").write_text(f"from dlpipe import *\nfrom dlpipe import hookimpl\n{module}\n")
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("PYTHONPATH", ":".join([str(folder), *sys.path]))
        monkeypatch.delitem(sys.modules, "kitted_plugin", raising=False)
        return {str(check): check for check in component_checks("kitted", **options)}

    return installed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", ""),
        (
            "import os\nif os.environ['KITTED'] != str(os.getpid()): raise RuntimeError('not for workers')",
            r"\[data\] split\('train'\) cannot be read by a worker process that was started with spawn",
        ),
    ],
    ids=["sound", "broken"],
)
def test_a_torch_dataset_is_read_by_a_worker(installed, tmp_path, monkeypatch, line, message):
    monkeypatch.setenv("KITTED", str(os.getpid()))
    (tmp_path / "kitted.toml").write_text(PIPELINE.replace("toy.", "kitted.").replace('plugins = ["./kitted.py"]', ""))
    plugin = (PLUGIN + DATASET).replace(SPLIT, 'return Rows({"points"')
    checks = installed(f"{line}\n{plugin}", pipelines=[tmp_path / "kitted.toml"])

    with pytest.raises(AssertionError, match=message) if message else nullcontext():
        checks["kitted.points: reaches worker processes"]()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("import torch", "kitted_plugin imports torch and numpy; import them in the modules of the targets"),
        ("print('hello')", 'kitted_plugin prints "hello" when it is imported; every command would show this'),
        (
            "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass",
            r"kitted_plugin takes 0\.\d+ s to import, expected at most 0.3 s",
        ),
    ],
    ids=["torch", "prints", "slow"],
)
def test_the_import_of_a_plugin_is_checked_in_a_clean_process(installed, module, message):
    with pytest.raises(AssertionError, match=message):
        installed(module)["kitted: is imported fast and silently"]()


def test_a_target_that_does_not_exist_is_found(installed):
    checks = installed("@hookimpl\ndef dlpipe_models(): return [ModelSpec('far', ':Far', 'far')]")

    with pytest.raises(AssertionError, match="kitted_plugin:Far cannot be used: module kitted_plugin has no Far"):
        checks["kitted.far: can be imported"]()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("import not_installed", "is broken: ModuleNotFoundError: No module named 'not_installed'"),
        ("DLPIPE_API = (9, 0)", "is incompatible: it needs plugin API 9.0"),
        ("@hookimpl\ndef dlpipe_models(): return [ModelSpec('A', ':B', 'c')]", "is broken: model name 'A': expected"),
    ],
    ids=["import", "API", "record"],
)
def test_a_plugin_that_cannot_be_loaded_fails_one_check(installed, module, message):
    checks = installed(module, pipelines=["missing.toml"], expected_failures={"kitted.a: can be imported": "why"})

    assert list(checks) == ["kitted: can be loaded"]
    with pytest.raises(AssertionError, match=message):
        checks["kitted: can be loaded"]()


def test_a_plugin_that_is_not_installed_fails_one_check():
    (check,) = component_checks("visoin", pipelines=["missing.toml"])

    with pytest.raises(AssertionError, match=r'no plugin with this namespace is installed. Did you mean "vision"\?'):
        check()


def test_a_component_that_needs_what_is_not_installed_is_skipped(installed):
    record = "ModelSpec('far', 'nowhere:Far', 'far', requires=('no-such-dist',), extra='kitted[far]')"
    checks = installed(f"@hookimpl\ndef dlpipe_models(): return [{record}]")

    for rule in ("can be imported", "is used by a pipeline"):
        with pytest.raises(unittest.SkipTest, match=r'kitted.far needs no-such-dist: pip install "kitted\[far\]"'):
            checks[f"kitted.far: {rule}"]()


def test_pytest_collects_without_torch_and_names_each_case(tmp_path):
    (tmp_path / "test_core.py").write_text(
        "import sys, pytest\nfrom dlpipe.testing import component_checks\n"
        "@pytest.mark.parametrize('check', component_checks('core'), ids=str)\ndef test_component(check): check()\n"
        "def test_light(): pass\nassert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", "test_core.py"]

    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "test_core.py::test_component[core.supervised: has valid defaults]" in answer.stdout, answer.stdout


def test_what_a_callback_writes_is_not_left_where_the_tests_run(checks_of, tmp_path):
    checks = checks_of(PLUGIN.replace("self.folder = run.folder", 'self.folder = Path("left"); self.folder.mkdir()'))

    checks["toy.watch: survives every lifecycle hook"]()
    assert not (tmp_path / "left").exists()


def test_the_kit_has_a_value_for_each_argument_of_each_lifecycle_hook(checks_of):
    watch = "".join(
        f"    @hookimpl\n    def {name}({', '.join(hook.__code__.co_varnames[: hook.__code__.co_argcount])}): pass\n"
        for name, hook in vars(Lifecycle).items()
        if name.startswith("dlpipe_") and name not in ("dlpipe_run_start", "dlpipe_step_logged", "dlpipe_run_end")
    )

    checks_of(PLUGIN.replace("    losses = 0\n", f"    losses = 0\n{watch}"))[
        "toy.watch: survives every lifecycle hook"
    ]()
