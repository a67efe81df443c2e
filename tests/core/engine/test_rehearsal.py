"""What would fail in a run is named before its first step."""

from __future__ import annotations

import json
import re

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import dry_run, run
from dlpipe.errors import DlpipeError
from dlpipe.registry.loading import load_plugins
from dlpipe.testing import comparable_metrics

PLUGIN = """
import torch
from torch import nn
from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, TrainerSpec, hookimpl
from dlpipe.data import Columns

class Points:
    splits = ("train", "dev", "test")
    closed = False
    @property
    def facts(self):
        assert not self.closed
        return {"num_inputs": 3}
    def close(self): self.closed = True
    def split(self, name):
        assert not self.closed
        return Columns({"points": torch.ones(8, 3), "targets": torch.zeros(8, dtype=torch.long)})
    def state(self): return {"words": ["to"], "size": 3}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Module):
    def __init__(self, num_inputs: int):
        super().__init__()
        self.score = nn.Linear(num_inputs, 2)
    def forward(self, points):
        return self.score(points)

class Learn:
    def __init__(self, model, data, compute):
        self.model, self.steps_per_epoch, self.seen = model, None, torch.tensor([0.0, torch.nan])
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    def steps(self):
        while True:
            loss = self.model(torch.ones(8, 3)).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.seen = self.seen + 1
            yield {"loss": loss.detach()}
    def log_values(self): return {}
    def on_score(self, score, goal): pass
    def state_dict(self): return {"seen": self.seen}
    def load_state_dict(self, state): self.seen = state["seen"]

class Judge:
    primary, goal = "score", "max"
    def evaluate(self, model, examples):
        return {"score": float(model.score.bias.detach()[0])}
    def write(self, folder): (folder / "figure.txt").write_text("drawn")
    def sample(self, folder, step): pass

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points", facts=("num_inputs",))]
@hookimpl
def dlpipe_models(): return [ModelSpec("line", ":Line", "a line")]
@hookimpl
def dlpipe_trainers(): return [TrainerSpec("learn", ":Learn", "learns")]
@hookimpl
def dlpipe_evaluators(): return [EvaluatorSpec("judge", ":Judge", "judges")]
"""
PIPELINE = """
name = "points"
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "toy.learn"
steps = 4
[evaluators.judge]
use = "toy.judge"
"""

#: What an author wrote, what it should have been, and the message.
BROKEN = {
    "scores of examples that do not make the metric": (
        "    def sample(self, folder, step): pass",
        "    def example_scores(self):\n        from dlpipe.evaluation import ExampleScores\n"
        "        return ExampleScores([0, 1], [90, 90])",
        r"\[evaluators.judge\] example_scores\(\) does not fit the metric: their weighted mean is 90, but evaluate\(\) gives",
    ),
    "a state of data that JSON changes": (
        '{"words": ["to"], "size": 3}',
        '{"words": {1: "to"}}',
        r"\[data\] state\(\)\['words'\]\[1\] is not the same after it was written as JSON and read; expected numbers",
    ),
    "a state of data that JSON cannot hold": (
        '{"words": ["to"], "size": 3}',
        '{"words": {"to"}}',
        r"\[data\] state\(\) cannot be written as JSON \(Object of type set is not JSON serializable\); expected numbers",
    ),
    "a state of data that is not finite": (
        '"size": 3}',
        '"size": float("inf")}',
        r"\[data\] state\(\) cannot be written as JSON \(Out of range float values are not JSON compliant",
    ),
    "a split that no evaluator names": (
        '("train", "dev", "test")',
        '("train", "validation")',
        r'\[data\] has the split "validation"; expected train, dev, test',
    ),
    "a metric that is no tensor": (
        "loss.detach()",
        "float(loss)",
        r'\[trainer\] steps\(\) gives "loss" as float; expected a tensor with one number',
    ),
    "a metric of several numbers": (
        "loss.detach()",
        "torch.ones(3)",
        r'steps\(\) gives "loss" as a tensor of shape \(3,\); expected a tensor with one number',
    ),
    "weights of metrics that are no names": (
        "    def log_values",
        "    metric_weights = {'loss': 2.0}\n    def log_values",
        r"\[trainer\] metric_weights is {'loss': 2.0}; expected a dict from names of metrics to those of their weights",
    ),
    "weights that are no dict": (
        "    def log_values",
        "    metric_weights = ('loss', 'count')\n    def log_values",
        r"\[trainer\] metric_weights is \('loss', 'count'\); expected a dict from names of metrics to those of",
    ),
    "a weight that is no metric": (
        "    def log_values",
        "    metric_weights = {'loss': 'cuont'}\n    def log_values",
        r'\[trainer\] metric_weights has "loss" weighted by "cuont", but steps\(\) gives "loss" without "cuont"; '
        r"it gives loss. Expected both, or neither",
    ),
    "a weight of what is no metric": (
        "    def log_values",
        "    metric_weights = {'lsos': 'loss'}\n    def log_values",
        r'\[trainer\] metric_weights has "lsos" weighted by "loss", but steps\(\) gives "loss" without "lsos"',
    ),
    "steps that end": (
        "while True:",
        "for _ in ():",
        r"\[trainer\] steps\(\) ended before the first step; expected an endless iterator",
    ),
    "a parameter that is made late": (
        "        return self.score(points)",
        "        self.late = nn.Parameter(torch.ones(1))\n        return self.score(points) * self.late",
        r'\[model\] the parameter "late" appeared in the first step',
    ),
    "a parameter that no optimizer has": (
        "torch.optim.SGD(model.parameters()",
        "torch.optim.SGD([model.score.weight]",
        r'\[trainer\] the parameter "score.bias" of the model gets a gradient, but no optimizer of the trainer has it',
    ),
    "a parameter that no optimizer in a dict has": (
        "self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)",
        'self.optimizers = {"line": torch.optim.SGD([model.score.weight], lr=0.1)}\n'
        '    optimizer = property(lambda self: self.optimizers["line"])',
        r'\[trainer\] the parameter "score.bias" of the model gets a gradient, but no optimizer of the trainer has it',
    ),
    "a state that is not restored": (
        'self.seen = state["seen"]',
        "pass",
        r"\[trainer\] state_dict\(\)\['seen'\] is not the same after load_state_dict\(\) of a fresh trainer",
    ),
    "a state of numpy": (
        'return {"seen": self.seen}',
        'return {"seen": {"all": [self.seen.numpy()]}}',
        r"\[trainer\] state_dict\(\)\['seen'\]\['all'\]\[0\] is of type ndarray; expected tensors, numbers, strings, lists",
    ),
    "a primary metric that is not returned": (
        '"score", "max"',
        '"accuracy", "max"',
        r'\[evaluators.judge\] primary is "accuracy", but evaluate\(\) returns score',
    ),
    "a goal that does not exist": (
        '"score", "max"',
        '"score", "highest"',
        r'\[evaluators.judge\] goal is "highest"; expected "max" or "min"',
    ),
    "an evaluator that raises": (
        'return {"score": float(model.score.bias.detach()[0])}',
        'return {"score": model.missing}',
        r"\[evaluators.judge\] AttributeError: 'Line' object has no attribute 'missing' \(toy.py:\d+, in evaluate\)",
    ),
    "a figure that cannot be drawn": (
        '(folder / "figure.txt").write_text("drawn")',
        "self.figure.save(folder)",
        r"\[evaluators.judge\] AttributeError: 'Judge' object has no attribute 'figure' \(toy.py:\d+, in write\)",
    ),
    "a sample that cannot be drawn": (
        "def sample(self, folder, step): pass",
        "def sample(self, folder, step): self.samples[step]",
        r"\[evaluators.judge\] AttributeError: 'Judge' object has no attribute 'samples' \(toy.py:\d+, in sample\)",
    ),
}


def load():
    return load_pipeline("points.toml", load_plugins(), allow_local_plugins=True)


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named_before_the_first_step(project_of, case):
    right, wrong, message = BROKEN[case]
    assert PLUGIN.count(right) == 1
    project = project_of(PLUGIN.replace(right, wrong), PIPELINE)

    with pytest.raises(DlpipeError, match=message) as caught:
        run(load(), load_plugins(), project / "runs", rehearsal=True)

    assert "weights_only" not in str(caught.value)
    assert not [line for path in project.rglob("metrics.jsonl") for line in path.read_text().splitlines()]
    with pytest.raises(DlpipeError, match=re.escape(str(caught.value))):
        dry_run(load())


def test_a_dry_run_asks_nothing_of_data_that_it_has_closed(project_of):
    project_of(PLUGIN, PIPELINE)

    assert dry_run(load())["pipeline"]["data"] == {"train": 8, "dev": 8, "test": 8}


def test_the_search_for_a_nan_builds_no_data(project_of):
    counting = "    def __init__(self): open('built.txt', 'a').write('once ')\n"
    plugin = PLUGIN.replace("    closed = False\n", "    closed = False\n" + counting)
    project = project_of(plugin.replace("self.score(points)", "self.score(points) * torch.nan"), PIPELINE)

    with pytest.raises(DlpipeError, match="The first non-finite tensor"):
        run(load(), load_plugins(), project / "runs")

    assert (project / "built.txt").read_text() == "once "


def test_a_rehearsal_changes_no_number_of_the_run(project_of):
    project = project_of(PLUGIN, PIPELINE)

    folders = [run(load(), load_plugins(), project / "runs", rehearsal=rehearsal).path for rehearsal in (False, True)]

    assert comparable_metrics(folders[0]) == comparable_metrics(folders[1])
    assert json.loads((folders[1] / "status.json").read_text())["state"] == "finished"


def test_what_evaluators_warn_of_a_model_of_one_step_is_no_warning_of_the_run(project_of):
    judge = "    def evaluate(self, model, examples):\n"
    warning = "        import warnings\n        warnings.warn('collapsed, limit ' + str(examples.limit))\n"
    project = project_of(PLUGIN.replace(judge, judge + warning), PIPELINE)

    folder = run(load(), load_plugins(), project / "runs", rehearsal=True).path

    warned = json.loads((folder / "provenance.json").read_text())["warnings"]
    assert [text for text in warned if "collapsed" in text] == ["collapsed, limit None"]


def test_what_data_says_once_of_a_split_is_a_warning_of_the_run(project_of):
    judge, split = "    def evaluate(self, model, examples):\n", "    def split(self, name):\n"
    once = (
        "        import warnings\n        if name not in self.told:\n            self.told.append(name)\n"
        "            warnings.warn('odd split ' + name)\n"
    )
    plugin = PLUGIN.replace(judge, f"{judge}        list(examples.predictions(model))\n").replace(split, split + once)
    project = project_of(plugin.replace("    closed = False\n", "    closed, told = False, []\n"), PIPELINE)

    folder = run(load(), load_plugins(), project / "runs", rehearsal=True).path

    warned = json.loads((folder / "provenance.json").read_text())["warnings"]
    assert sorted(text for text in warned if "odd split" in text) == [
        f"odd split {name}" for name in ("dev", "test", "train")
    ]


@pytest.mark.parametrize("context", ["nullcontext()", "self.compute.autocast()"])
def test_a_precision_that_a_trainer_does_not_use_is_said(project_of, context):
    step = "loss = self.model(torch.ones(8, 3)).square().mean()"
    trainer = PLUGIN.replace("self.model, self.steps", "self.compute, self.model, self.steps")
    trainer = trainer.replace("self.seen = model", "self.seen = compute, model").replace(
        step, f"with {context}: {step}"
    )
    project = project_of(f"from contextlib import nullcontext\n{trainer}", f'precision = "bfloat16"\n{PIPELINE}')

    folder = run(load(), load_plugins(), project / "runs", rehearsal=True).path

    found = [text for text in json.loads((folder / "provenance.json").read_text())["warnings"] if "precision" in text]
    expected = '[trainer] precision = "bfloat16" has no effect on training: steps() does not call the model under '
    assert found == ([f"{expected}compute.autocast()"] if context == "nullcontext()" else [])
