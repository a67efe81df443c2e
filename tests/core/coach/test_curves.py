from __future__ import annotations

import math
import random
import statistics

import pytest

from dlpipe.coach.curves import Curve, curves_of


def curve(*values: float) -> Curve:
    return Curve(list(enumerate(values, start=1)))


def test_a_course_is_the_means_of_the_tenths():
    assert curve(*range(20)).tenths() == [0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 14.5, 16.5, 18.5]
    assert curve(*range(20)).fall() == -18
    assert curve(*range(20)).last_fall() == -2


def test_the_noise_of_tenths_is_that_of_their_points():
    generator = random.Random(0)
    noisy = curve(*(generator.gauss(0, 0.5) for _ in range(5000)))
    straight = curve(*(5 * number for number in range(1000)))
    tenths = [curve(*(generator.gauss(0, 0.5) for _ in range(50))).tenths() for _ in range(400)]

    measured = statistics.stdev(each[-1] - each[0] for each in tenths)
    assert measured == pytest.approx(0.5 * math.sqrt(2 / 5), rel=0.1)
    assert noisy.noise == pytest.approx(0.5 * math.sqrt(2 / 500), rel=0.05)
    assert straight.noise == 0


def test_nine_points_are_no_course():
    assert not curve(*range(9)).known
    assert curve(*range(10)).known


def test_what_too_few_points_do_not_say_is_nan():
    nothing, one, nine = curve(), curve(0.5), curve(*range(9))

    for few in (nothing, one, nine):
        assert len(few.tenths()) == 10
        assert all(map(math.isnan, [*few.tenths(), few.fall(), few.last_fall(), few.noise]))
    assert math.isnan(nothing.end)
    assert math.isnan(nothing.last)
    for goal in ("max", "min"):
        step, best = nothing.best(goal)
        assert (step, math.isnan(best)) == (0, True)
    assert (one.end, one.last, one.best("max")) == (0.5, 0.5, (1, 0.5))
    assert (curve(3, 5).end, nine.end) == (4, 7)


def test_the_best_point_is_the_first_of_several():
    assert curve(0.5, 0.9, 0.9, 0.7).best("max") == (2, 0.9)
    assert curve(0.5, 0.2, 0.9, 0.2).best("min") == (2, 0.2)


def test_the_curves_of_a_stage_are_its_training_loss_and_the_monitored_metric():
    records = [
        {"step": 50, "train/loss": 2.0, "train/lr": 0.1},
        {"step": 60, "dev/digits/accuracy": 0.5, "dev/loss/loss": 1.0},
        {"step": 100, "train/loss": None},  # NaN, as metrics.jsonl has it
        {"step": 120, "dev/digits/accuracy": 0.6, "dev/other/accuracy": 0.1},
        {"step": 120, "test/digits/accuracy": 0.7},
    ]

    found = curves_of(records, "digits/accuracy", "max")

    assert found.loss == Curve([(50, 2.0)])
    assert found.dev == Curve([(60, 0.5), (120, 0.6)])
    assert found.goal == "max"


def test_a_stage_that_nothing_judges_has_no_curve_on_dev():
    assert curves_of([{"step": 1, "train/loss": 1.0}], "", "").dev == Curve([])
