"""Runs whose evaluators judge training examples, and what is refused."""

from __future__ import annotations

import json
import re

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.build import build_for_use
from dlpipe.engine.execute import dry_run, run
from dlpipe.engine.inference import evaluate_run, open_run
from dlpipe.engine.judged_splits import judged_on_train
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins
from dlpipe.testing import check_resume

PLUGIN = """
import itertools
import torch
from torch import nn
from torch.utils.data import IterableDataset
from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, hookimpl
from dlpipe.data import Columns

class Points:
    facts, splits = {"num_inputs": 3, "num_classes": 2}, ("train", "dev", "test")
    def __init__(self, *, blur: float = 0.0):
        self.blur = blur
    def split(self, name):
        points = torch.randn(40, 3, generator=torch.Generator().manual_seed(len(name)))
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()}, prepare=self.prepare)
    def prepare(self, batch, generator, training):
        noise = torch.randn(batch["points"].shape, generator=generator) * self.blur * training
        return batch | {"points": batch["points"] + noise}
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Endless(IterableDataset):
    def __init__(self, columns): self.columns = columns
    def __iter__(self):
        for row in itertools.cycle(range(40)):
            yield {name: column[row] for name, column in self.columns.items()}

class Stream(Points):
    def split(self, name):
        found = super().split(name)
        return Endless(found.columns) if name == "train" else found

class Line(nn.Module):
    def __init__(self, num_inputs: int):
        super().__init__()
        self.score, self.dropout = nn.Linear(num_inputs, 2), nn.Dropout(0.5)
    def forward(self, points):
        return self.score(self.dropout(points))

class Right:
    primary, goal = "right", "max"
    def evaluate(self, model, examples):
        torch.rand(7)
        found = torch.cat([(said == batch["targets"]).float() for batch, _, said in examples.predictions(model)])
        return {"right": float(found.mean()), "count": float(len(found))}
    def write(self, folder): ...

class Whole(Right):
    def evaluate(self, model, examples):
        return {"right": float(len(examples.data.split(examples.split).columns["targets"]))}

class Drawing(Right):
    primary = None
    def evaluate(self, model, examples):
        list(examples.predictions(model))
        return {}

@hookimpl
def dlpipe_data():
    facts = ("num_inputs", "num_classes")
    return [DataSpec("points", ":Points", "points", facts=facts), DataSpec("stream", ":Stream", "points", facts=facts)]
@hookimpl
def dlpipe_models(): return [ModelSpec("line", ":Line", "a line")]
@hookimpl
def dlpipe_evaluators():
    return [
        EvaluatorSpec("right", ":Right", "share of right classes"),
        EvaluatorSpec("whole", ":Whole", "counts a split"),
        EvaluatorSpec("drawing", ":Drawing", "draws"),
        EvaluatorSpec("pairs", ":Right", "pairs", not_on_train="its pairs are always the same"),
    ]
"""
PIPELINE = """
name = "points"
threads = 1
plugins = ["./toy.py"]
[data]
use = "toy.points"
blur = 5.0
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
steps = 9
batch_size = 8
optimizer = { use = "sgd", lr = 0.5 }
[evaluators.right]
use = "toy.right"
splits = ["train", "dev", "test"]
"""
ALL, SOME = "evaluators.right.splits=['train','dev','test']", "evaluators.right.train_examples=7"


@pytest.fixture
def project(project_of):
    return project_of(PLUGIN, PIPELINE)


def pipeline(*assignments):
    return load_pipeline("points.toml", load_plugins(), assignments, allow_local_plugins=True)


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_training_examples_are_judged_with_dev_as_by_evaluate(project):
    folder = run(pipeline(), load_plugins(), project / "runs").path

    judged = [each for each in records(folder) if "dev/right/right" in each]
    assert [each["step"] for each in judged] == [5, 9]
    assert [each["train/right/count"] for each in judged] == [40, 40]
    best = open_run(folder, allow_local_plugins=True)
    step = int(best.checkpoint.name.partition("-")[2])
    # Neither blurred nor with dropout: a second evaluation gives the same.
    assert evaluate_run(best, "train")["right/right"] == judged[[5, 9].index(step)]["train/right/right"]


def test_the_training_is_the_same_whether_its_examples_are_judged_or_not(project):
    found = [
        [
            {name: value for name, value in each.items() if name.startswith(("train/loss", "dev/", "test/"))}
            for each in records(run(pipeline(*assignments), load_plugins(), project / "runs").path)
        ]
        for assignments in ((), ("evaluators.right.splits=['dev','test']",))
    ]

    assert found[0] == found[1]


def test_some_training_examples_are_judged_and_the_run_says_how_many(project):
    folder = run(pipeline(SOME), load_plugins(), project / "runs").path

    assert {each["train/right/count"] for each in records(folder) if "train/right/count" in each} == {7}
    note = "[evaluators.right] judges 7 of 40 training examples, always the same ones"
    assert note in (folder / "log.txt").read_text()
    assert "On train, right judges at most 7 of them, always the same ones." in (folder / "report.html").read_text()


def test_a_resumed_run_judges_the_same_training_examples(project):
    check_resume("points.toml", project / "runs", assignments=[SOME], stops=[6], allow_local_plugins=True)


def test_of_a_stream_the_first_examples_are_judged(project):
    stream = ("data.use='toy.stream'", "trainer.evaluate_every=3")

    folder = run(pipeline(*stream, SOME), load_plugins(), project / "runs").path

    assert [each["train/right/count"] for each in records(folder) if "train/right/count" in each] == [7, 7, 7]
    assert "[evaluators.right] judges the first 7 training examples" in (folder / "log.txt").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ["data.use='toy.stream'"],
            '[evaluators.right] splits = ["train", "dev", "test"]: the training split of toy.stream is a stream, which '
            "may not end; say how many of its examples to judge, such as train_examples = 1000",
        ),
        (
            ["evaluators.right.use='toy.drawing'", ALL],
            '[evaluators.right] splits = ["train", "dev", "test"]: toy.drawing gives no metrics, and its figures show '
            'the test split; remove "train"',
        ),
        (
            ["evaluators.right.use='toy.whole'", ALL, SOME],
            "[evaluators.right] train_examples = 7: toy.whole does not judge one example after the other, but always "
            "the whole split; remove train_examples",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_before_the_training(project, change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        dry_run(pipeline(*change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('("train", "dev", "test")', '("dev", "test")'),
         '[evaluators.right] splits = ["train", "dev", "test"]: the data has no split "train"; it has dev, test'),
        (("return Endless(found.columns) if", "return object() if"),
         "the training split of toy.stream has no examples that could be judged; remove"),
    ],
)  # fmt: skip
def test_data_without_training_examples_is_refused(project, change, message):
    (project / "toy.py").write_text(PLUGIN.replace(*change))
    loaded = pipeline("data.use='toy.stream'")
    stage = loaded.stages[""]
    components = build_for_use(loaded.settings, stage, None)

    with pytest.raises(InputError, match=re.escape(message)):
        judged_on_train(stage, components)


PAIRS = """
[evaluators.pairs]
use = "toy.pairs"
"""


def test_an_evaluation_on_train_leaves_out_who_cannot_judge_it(project):
    (project / "points.toml").write_text(PIPELINE + PAIRS)
    folder = run(pipeline("trainer.steps=1"), load_plugins(), project / "runs").path
    trained = open_run(folder, allow_local_plugins=True)
    reason = r"\[evaluators.pairs\] toy.pairs cannot judge training examples: its pairs are always the same"

    with pytest.warns(UserWarning, match=f"{reason}; it is left out"):
        assert set(evaluate_run(trained, "train")) == {"right/right", "right/count"}
    assert set(evaluate_run(trained, "dev")) == {"right/right", "right/count", "pairs/right", "pairs/count"}

    del trained.stage.evaluators["right"]
    del trained.built.evaluators["right"]
    with pytest.raises(InputError, match=f"no evaluator of this run can judge the train split: {reason}"):
        evaluate_run(trained, "train")
