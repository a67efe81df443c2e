from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dlpipe.coach import asking
from dlpipe.coach.case import Case
from dlpipe.coach.curves import Curve, Curves
from dlpipe.coach.examination import Examination, Inputs, Units, Weights
from dlpipe.coach.verdict import Scores
from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Start
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
STILL_FALLING = [2.3, 2.1, 1.9, 1.7, 1.5, 1.3, 1.2, 1.1, 1.0, 0.9]
ENDED = [2.3, 1.5, 1.0, 0.9, 0.82, 0.8, 0.79, 0.79, 0.79, 0.79]
FLAT = [2.302, 2.301, 2.302, 2.300, 2.301, 2.302, 2.301, 2.302, 2.300, 2.301]
BETTER_BEFORE = [0.7, 0.93, 0.9, 0.88, 0.85, 0.8, 0.78, 0.77]
DEEP = (1e-9, 1e-7, 1e-4)


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


def scores(train=0.99, other=0.98, *, trivial=0.1, at_end=None):
    found = Scores(METRIC, "max", train, other, "dev", 1000, 0.1, ("core.majority_class", trivial))
    return replace(found, train_count=1000, at_end=train if at_end is None else at_end)


def examination(*, gradients=(1e-3, 1e-3, 1e-3), units=(), inputs=(), without=(), largest_class=None):
    weights = [Weights(f"layers.{number}", size) for number, size in enumerate(gradients)]
    return Examination(weights, list(units), list(inputs), list(without), largest_class, 10)


@pytest.fixture
def case(stage):
    """A training in which nothing is wrong."""
    return Case(
        stage(),
        steps=2000,
        steps_per_epoch=13,
        train_examples=1294,
        problem="",
        curves=curves(GOOD_LOSS),
        scores=scores(),
        first=examination(),
        last=examination(),
        moved=0.2,
    )


@pytest.fixture
def poor(case):
    """One of a model that is not good on its training examples."""
    return replace(case, scores=scores(0.7, 0.7), curves=curves(ENDED))


RULES = load_plugins().components["rule"].values()


def findings(case):
    """Return what the rules of all plugins find, none of which fails."""
    return asking.findings(RULES, case, pytest.fail)


def rules(case):
    """Return which rules of the core find something."""
    return [each.rule for each in findings(case) if "." not in each.rule]


def remedies(case, rule):
    (found,) = [each for each in findings(case) if each.rule == rule]
    return {name: value for remedy in found.remedies for name, value in remedy.values.items()}


def evidence(case, rule):
    (found,) = [each for each in findings(case) if each.rule == rule]
    return found.evidence


def test_nothing_is_found_where_nothing_is_wrong(case):
    assert findings(case) == []


def test_a_run_that_failed_at_a_nan(case):
    failed = replace(case, problem="step 12: loss is nan. It is the first one", scores=None)

    assert rules(failed) == ["nan"]
    assert remedies(failed, "nan") == {"trainer.optimizer.lr": 0.01, "trainer.max_grad_norm": 1.0}
    assert rules(replace(failed, problem="finance.csv: the disk is full")) == []


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        ([2.3, 2.2, 2.1, 2.2, 2.3, 2.5, 2.7, 2.9, 3.2, 3.5], True),
        ([-5.0, -5.2, -5.1, -4.9, -4.6, -4.3, -4.0, -3.6, -3.0, -2.5], True),
        ([2.3, 2.2, 2.1, 2.0, 2.0, 2.1, 2.2, 2.3, 2.4, 2.4], False),
        ([0.6, 0.8, 0.5, 0.8, 0.5, 0.7, 0.5, 0.8, 0.6, 0.7], False),  # no more than noise
        ([2.3, 2.2, 2.5, 2.9, 3.5], False),  # too few points
    ],
)
def test_a_loss_that_grows(case, loss, found):
    case = replace(case, curves=curves(loss))

    assert rules(case) == ["diverging"] * found
    if found:
        assert remedies(case, "diverging")["trainer.optimizer.lr"] == 0.01


@pytest.mark.parametrize(
    ("mean", "std", "found"), [(128, 70, True), (0, 70, True), (-128, 1, True), (0.5, 0.3, False), (0, 1, False)]
)
def test_inputs_that_are_not_scaled(poor, stage, mean, std, found):
    inputs = examination(inputs=[Inputs("images", mean, std, 0, 255)])
    case = replace(poor, stage=stage("data.normalize=none"), first=inputs)

    assert ("unscaled-inputs" in rules(case)) == found
    if found:
        assert remedies(case, "unscaled-inputs")["data.normalize"] == "standardize"


def test_gradients_that_vanish(poor, stage):
    poor = replace(poor, stage=stage("model.activation=sigmoid"))
    vanishing = replace(poor, first=examination(gradients=DEEP))

    assert remedies(vanishing, "vanishing-gradients") == {
        "model.activation": "relu",
        "model.norm": "batch",
        "trainer.optimizer": {"use": "adam", "lr": 1e-3},
    }
    assert "layers.0 is 1.0e-05 times that of layers.2" in evidence(vanishing, "vanishing-gradients")
    for gradients in (DEEP[1:], (4e-8, 1e-4, 1e-4)):  # two layers are not deep; an encoder has less than its decoder
        assert "vanishing-gradients" not in rules(replace(poor, first=examination(gradients=gradients)))


def test_units_that_are_dead_after_training(poor):
    dead = examination(units=[Units("layers.3", "ReLU", 50, 0.8, 0.0), Units("layers.6", "ReLU", 20, 0.4, 0.0)])

    assert remedies(replace(poor, last=dead), "dead-units")["model.activation"] == "leaky_relu"
    assert evidence(replace(poor, last=dead), "dead-units").endswith("of 10 steps: 80% of 50 units of layers.3")
    assert "dead-units" not in rules(replace(poor, first=dead))


def test_units_that_are_saturated_after_training(poor):
    saturated = examination(units=[Units("layers.3", "Tanh", 50, 0.0, 0.95), Units("layers.6", "Tanh", 20, 0.0, 0.5)])

    assert evidence(replace(poor, last=saturated), "saturated-units").endswith(": 95% of layers.3 (Tanh)")


def test_what_is_odd_inside_a_good_model_is_no_fault(case, stage):
    dead = examination(units=[Units("layers.3", "ReLU", 50, 0.8, 0.0), Units("layers.6", "Tanh", 20, 0.0, 1.0)])
    first = examination(gradients=DEEP, inputs=[Inputs("images", 128, 70, 0, 255)], largest_class=0.95)

    assert rules(replace(case, stage=stage("data.normalize=none"), first=first, last=dead)) == []


def test_parameters_without_a_gradient(case):
    first, last = examination(without=["idle.weight", "late.weight"]), examination(without=["idle.weight"])

    (found,) = findings(replace(case, first=first, last=last))

    assert found.title == "1 parameter of the model has no gradient"
    assert found.evidence.startswith("idle.weight: none")
    assert not found.remedies


def test_a_classifier_that_minimizes_the_squared_error(case, poor, stage):
    assert rules(replace(case, stage=stage("trainer.loss=mse"))) == []
    assert remedies(replace(poor, stage=stage("trainer.loss=mse")), "loss") == {"trainer.loss": "cross_entropy"}


def test_few_steps_of_large_batches(poor, case, stage):
    few = replace(poor, stage=stage("trainer.batch_size=full"), steps=20, steps_per_epoch=1)

    assert remedies(few, "few-steps") == {"trainer.batch_size": 32}
    assert evidence(few, "few-steps") == 'batch_size = "full" makes 1 step per epoch, 20 steps in all'
    for other in (
        replace(few, steps=500),
        replace(few, scores=case.scores),
        replace(few, steps_per_epoch=3),
        replace(few, train_examples=60),
        replace(few, stage=stage("trainer.batch_size=16")),
    ):
        assert "few-steps" not in rules(other)


def test_steps_that_are_too_small(poor):
    flat = replace(poor, curves=curves(FLAT), scores=scores(0.11, 0.1), moved=2e-4)

    assert rules(flat) == ["no-progress"]
    assert remedies(flat, "no-progress") == {
        "trainer.optimizer": {"use": "adam", "lr": 1e-3},
        "trainer.optimizer.lr": 1.0,  # no larger one is advised
    }
    assert "moved by 0.0002 times their size" in evidence(flat, "no-progress")


def test_a_rate_that_is_too_small_is_raised_as_far_as_the_weights_say(poor, stage):
    flat = replace(poor, stage=stage("trainer.optimizer.lr=1e-5"), scores=scores(0.11, 0.1), moved=2e-4)

    assert remedies(flat, "no-progress")["trainer.optimizer.lr"] == 1e-2  # to move by 0.1 or 0.2, not by 0.0002
    assert rules(replace(flat, moved=0.2)) == ["no-gain"]  # as the loss has fallen


def test_steps_that_are_too_large(poor):
    flat = replace(poor, curves=curves(FLAT), scores=scores(0.11, 0.1), moved=40.0)

    assert remedies(flat, "no-progress")["trainer.optimizer.lr"] == 0.01
    assert rules(replace(flat, scores=scores())) == []


def test_a_training_that_ended_too_early(poor, case):
    early = replace(poor, curves=curves(STILL_FALLING))

    assert rules(early) == ["unfinished"]
    assert remedies(early, "unfinished") == {
        "trainer.steps": 6000,
        "trainer.optimizer": {"use": "adam", "lr": 1e-3},
        "trainer.optimizer.lr": 1.0,
    }
    assert evidence(early, "unfinished").startswith("train/loss is 1.0000 in the last but one tenth and 0.9000 in the")
    assert rules(replace(early, curves=curves([value - 10 for value in STILL_FALLING]))) == ["unfinished"]
    assert rules(replace(early, scores=case.scores)) == []


def test_three_times_the_minutes_are_a_short_number(poor, stage):
    early = replace(poor, stage=stage("trainer.minutes=0.1"), curves=curves(STILL_FALLING))

    assert remedies(early, "unfinished")["trainer.minutes"] == 0.3


def test_a_loss_that_has_stopped_falling(poor, case):
    assert rules(poor) == ["plateau"]
    assert remedies(poor, "plateau") == {
        "trainer.optimizer": {"use": "adam", "lr": 1e-3},
        "trainer.schedule": {"use": "cosine_annealing"},
        "trainer.optimizer.lr": 0.01,
        "model.hidden": [100, 40],
    }
    assert rules(replace(poor, curves=curves([value - 10 for value in ENDED]))) == ["plateau"]
    assert rules(replace(poor, scores=case.scores)) == []


def test_what_holds_a_model_back_is_taken_away_first(poor, stage):
    stage = stage("model.dropout=0.9", "trainer.optimizer={use='adamw',weight_decay=0.5}")

    (found,) = findings(replace(poor, stage=stage))

    assert [remedy.values for remedy in found.remedies][:2] == [
        {"model.dropout": 0.3},
        {"trainer.optimizer.weight_decay": 0.0},
    ]


def test_a_rate_that_has_fallen_already_is_not_to_fall(poor, stage):
    found = remedies(replace(poor, stage=stage("trainer.schedule={use='cosine_annealing'}")), "plateau")

    assert list(found) == ["trainer.optimizer", "trainer.steps", "model.hidden"]


def test_the_rate_of_a_schedule_that_has_its_own_is_changed_there(case, stage):
    stage = stage("trainer.schedule={use='one_cycle',max_lr=0.5}")
    grows = replace(case, stage=stage, curves=curves([2.3, 2.2, 2.1, 2.2, 2.3, 2.5, 2.7, 2.9, 3.2, 3.5]))

    assert remedies(grows, "diverging") == {"trainer.schedule.max_lr": 0.05, "trainer.max_grad_norm": 1.0}
    flat = replace(grows, curves=curves(FLAT), scores=scores(0.11, 0.1), moved=40.0)
    assert remedies(flat, "no-progress") == {"trainer.schedule.max_lr": 0.05}  # and no other optimizer


def test_a_model_that_starts_from_weights_keeps_its_size(poor, stage):
    model = poor.stage.model
    started = replace(model, references={"start": Start(run=Path("runs/other"))})

    assert "model.hidden" not in remedies(replace(poor, stage=replace(poor.stage, model=started)), "plateau")


def agent(case, dev, *, other=150.0, untrained=20.0):
    found = Scores("play/return", "max", None, other, "dev", None, untrained)
    return replace(case, first=None, last=None, curves=Curves(curve([]), curve(dev), "max"), scores=found)


def test_an_agent_that_has_learned_nothing(case):
    found = agent(case, [20, 21, 19, 20, 20, 21, 20, 20, 20, 19], other=20.0)

    assert rules(found) == ["no-gain"]
    assert [each.name for each in findings(found)[0].remedies] == [
        "three times as long",
        "a tenth of the rate",
        "ten times the rate",
    ]


def test_an_agent_that_was_still_getting_better(case):
    rising = agent(case, [20, 20, 20, 20, 30, 40, 60, 80, 100, 150])

    assert rules(rising) == ["rising"]
    assert "110.0000 in the last three evaluations, 50.0000 in those" in evidence(rising, "rising")
    assert rules(agent(case, [20, 80, 120, 140, 150, 149, 150, 148, 150, 149])) == []
    assert rules(agent(case, [20, 80, 120, 140, 150, 80, 90, 150, 150, 150])) == []  # it has what it had before


def test_one_class_that_has_most_examples(poor, stage):
    first = examination(largest_class=0.95)

    assert remedies(replace(poor, first=first), "imbalance") == {
        "trainer.class_weights": "balanced",
        "trainer.sampling": "balanced",
    }
    for share in (0.5, 1.0):
        assert "imbalance" not in rules(replace(poor, first=examination(largest_class=share)))
    weighted = stage("trainer.class_weights=balanced")
    assert remedies(replace(poor, first=first, stage=weighted), "imbalance") == {}  # both would be too much


def test_a_score_on_dev_that_was_better_before(case):
    found = replace(case, curves=curves(GOOD_LOSS, BETTER_BEFORE), scores=scores(0.9, 0.93, at_end=0.99))

    assert rules(found) == ["late", "overfitting"]
    assert remedies(found, "late") == {"trainer.patience": 3}
    assert evidence(found, "late") == (
        "on dev 0.9300 at step 100 and 0.7833 at the end, step 400; on train 0.9000 and 0.9900"
    )


def test_a_poor_score_on_train_is_overfitting_if_only_train_got_better(poor):
    late = replace(poor, scores=scores(0.61, 0.93, at_end=0.99), curves=curves(GOOD_LOSS, BETTER_BEFORE))

    assert (late.verdict, rules(late)) == ("overfitting", ["late", "overfitting"])
    worse_on_train = replace(late, scores=scores(0.61, 0.93, at_end=0.55))
    assert (worse_on_train.verdict, rules(worse_on_train)) == ("underfitting", ["plateau"])


@pytest.mark.parametrize(
    "dev",
    [
        [0.7, 0.93, 0.92, 0.91, 0.92, 0.91, 0.92, 0.91],  # no more than noise, of a thousand examples
        [0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.8, 0.77],  # not long before the end
        [0.93, 0.8, 0.7, 0.7],  # too few evaluations
    ],
)
def test_a_score_on_dev_that_varies_is_not_late(case, dev):
    assert "late" not in rules(replace(case, curves=curves(GOOD_LOSS, dev), scores=scores(0.9, 0.93, at_end=0.99)))


def test_early_stopping_is_advised_only_where_it_would_stop(case, stage):
    late = replace(case, curves=curves(GOOD_LOSS, BETTER_BEFORE), scores=scores(0.9, 0.93, at_end=0.99))

    assert remedies(replace(late, stage=stage("trainer.patience=20")), "late") == {}
    assert remedies(replace(late, curves=curves(GOOD_LOSS, [0.5, 0.6, 0.93, 0.7, 0.7, 0.7])), "late") == {}


def test_overfitting(case):
    overfitted = replace(case, scores=scores(0.99, 0.77))

    assert rules(overfitted) == ["overfitting"]
    assert remedies(overfitted, "overfitting") == {
        "model.dropout": 0.5,
        "trainer.optimizer.weight_decay": 1e-3,
        "model.hidden": [25, 10],
    }


@pytest.mark.parametrize(
    ("optimizer", "path", "value"),
    [
        ("{use='sgd',lr=0.1,weight_decay=0.02}", "trainer.optimizer.weight_decay", 0.2),
        ("{use='adamw',weight_decay=0.01}", "trainer.optimizer.weight_decay", 0.1),
        ("{use='adamw',weight_decay=0.1}", "trainer.optimizer.weight_decay", 1.0),
        (
            "{use='adam',lr=0.002,betas=[0.5,0.9],eps=1e-6}",
            "trainer.optimizer",
            {"use": "adamw", "lr": 0.002, "betas": (0.5, 0.9), "eps": 1e-6, "weight_decay": 0.1},
        ),
    ],
)
def test_weight_decay_is_more_than_there_is(case, stage, optimizer, path, value):
    overfitted = replace(case, stage=stage(f"trainer.optimizer={optimizer}"), scores=scores(0.99, 0.77))

    assert remedies(overfitted, "overfitting")[path] == value


def test_faults_come_before_advice(poor):
    found = replace(poor, scores=scores(0.12, 0.12), curves=curves(FLAT), first=examination(gradients=DEEP))

    assert rules(found) == ["vanishing-gradients", "no-progress"]
