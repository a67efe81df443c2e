from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dlpipe.coach import rules as rules_module
from dlpipe.coach.case import Case
from dlpipe.coach.curves import Curve, Curves
from dlpipe.coach.examination import Examination, Inputs, Units, Weights
from dlpipe.coach.rules import RULES, findings
from dlpipe.coach.verdict import Scores
from dlpipe.config.check import load_pipeline
from dlpipe.registry.loading import load_plugins

PIPELINE = """
name = "case"
[data]
use = "vision.digits"
[model]
use = "core.mlp"
hidden = [50, 20]
[trainer]
use = "core.supervised"
steps = 2000
batch_size = 100
optimizer = { use = "sgd", lr = 0.1 }
[evaluators.digits]
use = "core.classification"
"""
METRIC = "digits/accuracy"
#: A loss that falls quickly, then not any more.
GOOD_LOSS = [2.3, 1.0, 0.5, 0.3, 0.2, 0.15, 0.12, 0.11, 0.105, 0.105]


@pytest.fixture
def stage(tmp_path):
    def load(*assignments):
        (tmp_path / "case.toml").write_text(PIPELINE)
        return load_pipeline(tmp_path / "case.toml", load_plugins(), assignments).stages[""]

    return load


def curve(values):
    return Curve([(50 * number, value) for number, value in enumerate(values, start=1)])


def curves(loss, dev=(0.5, 0.7, 0.9, 0.95, 0.98)):
    return Curves(curve(loss), curve(dev), "max")


def scores(train=0.99, other=0.98, *, trivial=0.1, metric=METRIC):
    return Scores(metric, "max", train, other, "dev", 1000, 0.1, ("core.majority_class", trivial))


def examination(*, gradients=(1e-3, 1e-3, 1e-3), units=(), inputs=(), without=(), largest_class=None):
    weights = [Weights(f"layers.{number}", 0.1, size) for number, size in enumerate(gradients)]
    return Examination(weights, list(units), list(inputs), list(without), largest_class, 320)


@pytest.fixture
def case(stage):
    """A training in which nothing is wrong."""
    return Case(
        stage(),
        steps=2000,
        steps_per_epoch=13,
        problem="",
        curves=curves(GOOD_LOSS),
        scores=scores(),
        rate=0.1,
        first=examination(),
        last=examination(),
    )


def rules(case):
    return [each.rule for each in findings(case)]


def remedies(case, rule):
    (found,) = [each for each in findings(case) if each.rule == rule]
    return {name: value for remedy in found.remedies for name, value in remedy.values.items()}


def test_nothing_is_found_where_nothing_is_wrong(case):
    assert findings(case) == []


def test_a_run_that_failed_at_a_nan(case):
    failed = replace(case, problem="[trainer] the loss is NaN at step 12", scores=None)

    assert rules(failed) == ["nan"]
    assert remedies(failed, "nan") == {"trainer.optimizer.lr": 0.01, "trainer.max_grad_norm": 1.0}
    assert rules(replace(failed, problem="finance.csv: the disk is full")) == []


def test_a_loss_that_grows(case):
    grows = replace(case, curves=curves([2.3, 2.2, 2.5, 2.9, 3.5]))

    assert rules(grows) == ["diverging"]
    assert remedies(grows, "diverging")["trainer.optimizer.lr"] == 0.01
    assert rules(replace(case, curves=curves([2.3, 2.2, 2.1, 2.2, 2.4]))) == []
    assert rules(replace(case, curves=curves([0.6, 0.8, 0.5, 0.8, 0.5, 0.7]))) == []  # no more than noise


@pytest.mark.parametrize(
    ("mean", "std", "found"), [(128, 70, True), (0, 70, True), (-128, 1, True), (0.5, 0.3, False), (0, 1, False)]
)
def test_inputs_that_are_not_scaled(case, stage, mean, std, found):
    inputs = examination(inputs=[Inputs("images", mean, std, 0, 255)])
    case = replace(case, stage=stage("data.normalize=none"), first=inputs)

    assert rules(case) == ["unscaled-inputs"] * found
    if found:
        assert remedies(case, "unscaled-inputs")["data.normalize"] == "standardize"


def test_gradients_that_vanish(case, stage):
    case = replace(case, stage=stage("model.activation=sigmoid"))
    vanishing = replace(case, first=examination(gradients=(1e-9, 1e-7, 1e-4)))

    assert rules(vanishing) == ["vanishing-gradients"]
    assert remedies(vanishing, "vanishing-gradients") == {
        "model.activation": "relu",
        "model.norm": "batch",
        "trainer.optimizer": {"use": "adam", "lr": 1e-3},
    }
    assert "layers.0 is 1.0e-05 times that of layers.2" in findings(vanishing)[0].evidence
    assert rules(replace(case, first=examination(gradients=(1e-9, 1e-4)))) == []  # two layers are not deep
    assert rules(replace(case, first=examination(gradients=(4e-8, 1e-4, 1e-4)))) == []  # an encoder before a decoder


def test_units_that_are_dead_after_training(case):
    dead = examination(units=[Units("layers.3", "ReLU", 50, 0.8, 0.0), Units("layers.6", "ReLU", 20, 0.4, 0.0)])

    assert rules(replace(case, last=dead)) == ["dead-units"]
    assert "80% of 50 units of layers.3" in findings(replace(case, last=dead))[0].evidence
    assert rules(replace(case, first=dead)) == []
    assert remedies(replace(case, last=dead), "dead-units")["model.activation"] == "leaky_relu"


def test_units_that_are_saturated_after_training(case):
    saturated = examination(units=[Units("layers.3", "Tanh", 50, 0.0, 0.95), Units("layers.6", "Tanh", 20, 0.0, 0.5)])

    assert rules(replace(case, last=saturated)) == ["saturated-units"]
    assert "95% of layers.3 (Tanh)" in findings(replace(case, last=saturated))[0].evidence


def test_parameters_without_a_gradient(case):
    first, last = examination(without=["idle.weight", "late.weight"]), examination(without=["idle.weight"])

    (found,) = findings(replace(case, first=first, last=last))

    assert found.title == "1 parameter of the model has no gradient"
    assert found.evidence.startswith("idle.weight: none")
    assert not found.remedies


def test_a_classifier_that_minimizes_the_squared_error(case, stage):
    case = replace(case, stage=stage("trainer.loss=mse"))

    assert rules(case) == []
    assert remedies(replace(case, scores=scores(0.5, 0.5)), "loss") == {"trainer.loss": "cross_entropy"}


def test_few_steps_of_large_batches(case, stage):
    case = replace(case, stage=stage("trainer.batch_size=full"), scores=scores(0.12, 0.12), steps=20, steps_per_epoch=1)

    assert remedies(case, "few-steps") == {"trainer.batch_size": 32}
    assert "few-steps" not in rules(replace(case, steps=500))
    assert "few-steps" not in rules(replace(case, scores=scores()))


FLAT = [2.302, 2.301, 2.302, 2.300, 2.301]


def test_a_loss_that_does_not_fall_since_the_steps_are_too_small(case):
    flat = replace(case, curves=curves(FLAT), scores=scores(0.11, 0.1), moved={"a": 1e-4, "b": 2e-4, "c": 0.5})

    assert rules(flat) == ["no-progress"]
    assert remedies(flat, "no-progress") == {
        "trainer.optimizer": {"use": "adam", "lr": 1e-3},
        "trainer.optimizer.lr": 1.0,
    }
    assert "moved by 0.0002 times their size" in findings(flat)[0].evidence
    assert rules(replace(flat, scores=scores())) == []


def test_a_rate_that_is_too_small_is_raised_as_far_as_the_weights_say(case):
    flat = replace(case, curves=curves(FLAT), scores=scores(0.11, 0.1), rate=1e-5, moved={"a": 2e-4})

    assert remedies(flat, "no-progress")["trainer.optimizer.lr"] == 1e-2  # to move by 0.1 or 0.2, not by 0.0002


def test_a_loss_that_does_not_fall_since_the_steps_are_too_large(case):
    flat = replace(case, curves=curves(FLAT), scores=scores(0.11, 0.1), moved={"a": 3.0, "b": 40.0, "c": 0.001})

    assert remedies(flat, "no-progress")["trainer.optimizer.lr"] == 0.01


def test_a_training_that_ended_too_early(case):
    early = replace(case, curves=curves([2.3, 2.0, 1.7, 1.4, 1.1]), scores=scores(0.7, 0.7))

    assert rules(early) == ["unfinished"]
    assert remedies(early, "unfinished")["trainer.steps"] == 6000
    assert rules(replace(early, scores=scores())) == []


def test_a_loss_that_has_stopped_falling(case):
    ended = replace(case, curves=curves([2.3, 1.0, 0.8, 0.79, 0.79]), scores=scores(0.7, 0.7))

    assert rules(ended) == ["plateau"]
    assert remedies(ended, "plateau") == {
        "trainer.optimizer": {"use": "adam", "lr": 1e-3},
        "trainer.schedule": {"use": "cosine_annealing"},
        "trainer.optimizer.lr": 0.01,
        "model.hidden": [100, 40],
    }
    assert rules(replace(ended, scores=scores())) == []


def agent(case, dev, *, other=150.0, untrained=20.0):
    found = Scores("play/return", "max", None, other, "dev", None, untrained)
    return replace(case, first=None, last=None, curves=Curves(curve([]), curve(dev), "max"), scores=found)


def test_an_agent_that_has_learned_nothing(case):
    found = agent(case, [20, 21, 19, 20, 20, 21, 20], other=20.0)

    assert rules(found) == ["no-gain"]
    assert [each.name for each in findings(found)[0].remedies] == [
        "three times as long",
        "a tenth of the rate",
        "ten times the rate",
    ]


def test_an_agent_that_was_still_getting_better(case):
    assert rules(agent(case, [20, 30, 40, 60, 80, 100, 150])) == ["rising"]
    assert (
        "110.0000 in the last three evaluations, 60.0000 in those"
        in findings(agent(case, [20, 30, 40, 60, 80, 100, 150]))[0].evidence
    )
    assert rules(agent(case, [20, 80, 140, 150, 148, 150, 149])) == []


def test_one_class_that_has_most_examples(case):
    poor, first = replace(case, scores=scores(0.95, 0.6)), examination(largest_class=0.95)

    assert "imbalance" in rules(replace(poor, first=first))
    assert remedies(replace(poor, first=first), "imbalance") == {
        "trainer.class_weights": "balanced",
        "trainer.sampling": "balanced",
    }
    assert rules(replace(case, first=first)) == []
    assert "imbalance" not in rules(replace(poor, first=examination(largest_class=0.5)))
    assert "imbalance" not in rules(replace(poor, first=examination(largest_class=1.0)))


def test_a_score_on_dev_that_was_better_before(case):
    late = replace(case, curves=curves(GOOD_LOSS, [0.7, 0.93, 0.9, 0.88, 0.85, 0.8, 0.78, 0.77]))

    assert rules(late) == ["late"]
    assert remedies(late, "late") == {"trainer.patience": 3}
    assert "0.9300 at step 100, 0.7833 at the end, step 400" in findings(late)[0].evidence


def test_early_stopping_is_not_advised_where_it_is_used(case, stage):
    late = curves(GOOD_LOSS, [0.7, 0.93, 0.9, 0.88, 0.85, 0.8, 0.78, 0.77])

    assert remedies(replace(case, stage=stage("trainer.patience=20"), curves=late), "late") == {}


def test_a_poor_score_on_train_is_overfitting_if_the_one_on_dev_was_better_before(case):
    late = replace(
        case,
        scores=scores(0.61, 0.93),
        curves=curves([2.3, 2.0, 1.7, 1.4, 1.1], [0.7, 0.93, 0.9, 0.88, 0.85, 0.8, 0.78, 0.77]),
    )

    assert late.verdict == "overfitting"
    assert rules(late) == ["late", "overfitting"]
    assert replace(late, curves=curves(GOOD_LOSS)).verdict == "underfitting"


def test_overfitting(case):
    overfitted = replace(case, scores=scores(0.99, 0.77))

    assert rules(overfitted) == ["overfitting"]
    assert remedies(overfitted, "overfitting") == {
        "model.dropout": 0.5,
        "trainer.optimizer.weight_decay": 1e-3,
        "data.augment": {"shift": 1},
        "model.hidden": [25, 10],
    }


def test_weight_decay_of_adam_is_that_of_adamw(case, stage):
    stage = stage("trainer.optimizer={ use = 'adam', lr = 0.002 }")

    found = remedies(replace(case, stage=stage, rate=0.002, scores=scores(0.99, 0.77)), "overfitting")

    assert found["trainer.optimizer"] == {"use": "adamw", "lr": 0.002, "weight_decay": 0.1}


def test_faults_come_before_advice(case):
    found = replace(
        case,
        scores=scores(0.12, 0.12),
        curves=curves(FLAT),
        first=examination(gradients=(1e-9, 1e-7, 1e-4)),
    )

    assert rules(found) == ["vanishing-gradients", "no-progress"]


def test_every_rule_is_in_the_docs():
    names = re.findall(r'Finding\(\s*"([a-z-]+)"', inspect.getsource(rules_module))
    page = (Path(__file__).parents[3] / "docs" / "coach.md").read_text(encoding="utf-8")

    assert len(names) == len(RULES) + 1  # the last one is for what the others do not find
    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE) == names
