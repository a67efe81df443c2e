"""Evaluations on dev and of training examples, from made-up evaluators."""

import random
from types import SimpleNamespace

import torch
from torch import nn

from dlpipe.training.judging import Judged, Judges


class Judge:
    """An evaluator that remembers what it judged; its score is a random number."""

    primary, goal = "score", "max"

    def __init__(self):
        self.seen = []

    def evaluate(self, model, examples):
        self.seen.append(examples.split)
        return {"score": random.random() + float(torch.rand(()))}

    def write(self, folder): ...

    def sample(self, folder, step):
        (folder / f"step-{step}.txt").write_text(self.seen[-1])


class Plain(Judge):
    """One without a primary metric and without samples."""

    primary = None
    sample = None


def examples(split):
    return SimpleNamespace(split=split, forget=lambda: None, check_stop=lambda: None)


def judges(judge, *, dev=True, train=1):
    on_dev = Judged({"a": judge, "b": judge}, examples("dev")) if dev else None
    return Judges(on_dev, [Judged({"a": judge}, examples("train"))] * train, "")


def test_metrics_are_given_by_split():
    found = judges(Judge()).evaluate(nn.Linear(1, 1))

    assert {split: list(metrics) for split, metrics in found.items()} == {
        "train": ["train/a/score"],
        "dev": ["dev/a/score", "dev/b/score"],
    }


def test_groups_of_training_examples_are_one_split():
    other = Judges(None, [Judged({name: Judge()}, examples("train")) for name in "ab"], "")

    assert list(other.evaluate(nn.Linear(1, 1))["train"]) == ["train/a/score", "train/b/score"]


def test_judging_training_examples_changes_no_random_number():
    scores = []
    for train in (0, 1):
        random.seed(1)
        torch.manual_seed(2)
        dev = judges(Judge(), train=train).evaluate(nn.Linear(1, 1))["dev"]
        scores.append((dev, random.random(), float(torch.rand(()))))

    assert scores[0] == scores[1]


def test_without_dev_judging_training_examples_changes_no_random_number_either():
    random.seed(1)
    expected = random.random()
    random.seed(1)

    judges(Judge(), dev=False).evaluate(nn.Linear(1, 1))

    assert random.random() == expected


def test_samples_are_drawn_after_dev_was_judged(tmp_path):
    judge = Judge()
    all_of_them = judges(judge)
    all_of_them.evaluate(nn.Linear(1, 1))

    all_of_them.write_samples(tmp_path, 7, print)

    assert (tmp_path / "a" / "step-7.txt").read_text() == "dev"


def test_the_primary_metrics_of_dev_are_the_first_ones():
    assert list(judges(Judge()).primary()) == ["dev/a/score", "dev/b/score", "train/a/score"]
    assert list(judges(Plain()).primary()) == []


def test_nobody_judges_where_there_is_neither():
    assert not judges(Judge(), dev=False, train=0)
    assert judges(Judge(), dev=False)
    assert judges(Judge(), dev=False).on_dev == {}
