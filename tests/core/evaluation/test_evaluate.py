"""Evaluators are called one after the other, and change nothing for each other nor for the training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dlpipe.errors import PluginError
from dlpipe.evaluation.evaluate import evaluate

EXAMPLES = SimpleNamespace(split="dev", forget=lambda: None, check_stop=lambda: None)


class Judge:
    """Returns what it is told to, and notes the mode of the model."""

    def __init__(self, found, leaves=False):
        self.found, self.leaves = found, leaves

    def evaluate(self, model, examples):
        self.mode = model.training
        model.train(self.leaves)
        return self.found


def test_each_evaluator_gets_the_model_in_evaluation_mode_and_the_training_its_own_modes():
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout())
    model[1].eval()  # frozen by its author
    judges = {"first": Judge({"a": 1}, leaves=True), "second": Judge({"b": torch.tensor(0.5)})}

    metrics = evaluate(model, judges, EXAMPLES)

    assert metrics == {"dev/first/a": 1.0, "dev/second/b": 0.5}
    assert [judge.mode for judge in judges.values()] == [False, False]
    assert [module.training for module in model.modules()] == [True, True, False]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, r"\[stages.one.evaluators.judge\] evaluate\(\) returns NoneType; expected a dict of numbers by name"),
        ({"a": "good"}, r"evaluate\(\) gives \"a\" as str; expected a number"),
        ({"a": torch.ones(2)}, r"evaluate\(\) gives \"a\" as a tensor of shape \(2,\); expected a number"),
    ],
)
def test_what_is_not_a_number_is_named(found, message):
    with pytest.raises(PluginError, match=message):
        evaluate(nn.Linear(2, 3), {"judge": Judge(found)}, EXAMPLES, stage="one")
