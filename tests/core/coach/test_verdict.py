from __future__ import annotations

import math
from pathlib import Path

import pytest

from dlpipe.coach.diagnosis import Diagnosis
from dlpipe.coach.verdict import Scores


def scores(train, other, untrained=0.1, *, goal="max", count=1000, trivial=None, target=None, metric="digits/accuracy"):
    return Scores(metric, goal, train, other, "dev", count, untrained, trivial, target, train_count=count)


@pytest.mark.parametrize(
    ("train", "other", "verdict"),
    [
        (0.11, 0.1, "not learned"),  # 0.89 of 0.9 are left
        (0.79, 0.77, "underfitting"),
        (0.79, 0.6, "underfitting"),  # both, and the first question comes first
        (0.99, 0.77, "overfitting"),
        (0.9, 0.75, "overfitting"),
        (0.99, 0.98, "good"),
        (1.0, 1.0, "good"),
    ],
)
def test_the_verdict_follows_from_what_is_left_on_train_and_on_others(train, other, verdict):
    assert scores(train, other).verdict == verdict


@pytest.mark.parametrize(
    ("train", "other", "verdict"),
    [(2.2, 2.3, "not learned"), (0.05, 0.9, "overfitting"), (0.6, 0.6, "underfitting"), (0.02, 0.05, "good")],
)
def test_an_error_is_measured_from_zero(train, other, verdict):
    assert scores(train, other, 2.3, goal="min", metric="loss/loss").verdict == verdict


def test_what_the_trivial_predictor_reaches_is_nothing_learned():
    assert scores(0.9, 0.9, 0.1, trivial=("core.majority_class", 0.9)).verdict == "not learned"
    assert scores(0.9, 0.9, 0.1).verdict == "underfitting"


def test_a_difference_that_few_examples_may_make_is_no_overfitting():
    assert scores(0.99, 0.90, count=20).verdict == "good"
    assert scores(0.99, 0.90, count=2000).verdict == "overfitting"


def test_a_target_says_what_would_be_good():
    assert scores(0.79, 0.77).verdict == "underfitting"
    assert scores(0.79, 0.77, target=0.78).verdict == "good"
    assert scores(0.79, 0.5, target=0.78).verdict == "overfitting"


def test_scores_without_a_perfect_one_have_no_verdict():
    assert scores(150.0, 140.0, 20.0).verdict == "unknown"  # returns of an agent
    assert scores(-3.0, -2.0, 1.0, goal="min").verdict == "unknown"  # a negative log-likelihood
    assert scores(-75.0, -74.0, -400.0, metric="bound/elbo").verdict == "unknown"
    assert scores(150.0, 140.0, 20.0, target=145.0).verdict == "good"


def test_a_regression_is_compared_with_the_mean():
    mean = ("core.mean", 0.0)

    assert scores(-0.1, -0.2, -3.0, trivial=mean, metric="price/r2").verdict == "not learned"
    assert scores(0.6, 0.58, -3.0, trivial=mean, metric="price/r2").verdict == "underfitting"
    assert scores(0.97, 0.96, -3.0, trivial=mean, metric="price/r2").verdict == "good"


def test_an_agent_that_is_no_better_than_before_has_learned_nothing():
    assert scores(None, 20.0, 21.0).verdict == "not learned"
    assert scores(None, 30.0, 21.0).verdict == "unknown"
    assert scores(None, 30.0, 21.0, target=30.0).verdict == "good"
    assert scores(None, 1.0, -0.8).verdict == "good"
    assert scores(None, 0.5, -0.8).verdict == "unknown"


def test_what_is_good_before_training_is_good_after_it_or_not_known():
    assert scores(1.0, 1.0, 1.0).verdict == "good"
    assert scores(0.95, 0.9, trivial=("core.majority_class", 0.3), target=0.2).verdict == "good"
    assert scores(0.1, 0.1, 0.3, target=0.2).verdict == "unknown"


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (scores(None, None), "there is no score"),
        (scores(150.0, 140.0, 20.0), "it is not known what a perfect score would be (--target says it)"),
        (scores(None, 30.0, 21.0), "it is not known what a perfect score would be (--target says it)"),
        (scores(0.5, 0.5, None), "it is not known what the score is without training"),
        (scores(None, 30.0, None, target=40.0), "it is not known what the score is without training"),
        (
            scores(None, 30.0, 21.0, target=40.0),
            "there are no training examples to judge; it is better than before training, and not good",
        ),
        (scores(0.1, 0.1, 0.3, target=0.2), "the target is reached without training"),
    ],
)
def test_that_there_is_no_verdict_has_a_reason(known, why):
    assert (known.verdict, known.why_unknown()) == ("unknown", why)
    assert Diagnosis(Path(), "", "", known, "unknown", [], []).answer == f"none, since {why}"


def test_without_scores_there_is_no_verdict():
    assert Diagnosis(Path(), "", "", None, "unknown", [], []).answer == "none, since there is no score"


def test_few_examples_say_little_also_if_all_or_none_are_right():
    assert scores(1.0, 0.0, count=1).verdict == "good"
    assert scores(1.0, 0.0, count=50).verdict == "overfitting"
    assert scores(1.0, 1.0).noise(1.0, 46) == pytest.approx(math.sqrt(0.96 * 0.04 / 50))


def test_scores_are_told_in_words():
    found = scores(0.99, 0.77, 0.12, trivial=("core.majority_class", 0.1))

    assert found.words() == "0.9900 on train, 0.7700 on dev, 0.1200 before training, 0.1000 by core.majority_class"
