"""Whether what does not differ is called "no difference", and what differs is found: by simulation."""

import math

import numpy as np
import pytest

from dlpipe.scores import statistics
from dlpipe.scores.statistics import (
    Scores,
    over_both,
    over_examples,
    over_seeds,
    resampled,
    sign_test,
    t_probability,
    t_quantile,
)


def even(scores):
    return Scores(np.asarray(scores, dtype=float), np.ones_like(scores, dtype=float))


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 6.314), (2, 2.920), (4, 2.132), (9, 1.833), (30, 1.697), (1e6, 1.645)]
)
def test_quantiles_are_those_of_published_tables(freedom, quantile):
    assert t_quantile(0.95, freedom) == pytest.approx(quantile, abs=0.004)
    assert t_probability(quantile, freedom) == pytest.approx(0.95, abs=2e-4)


def test_the_spread_of_resampled_means_is_the_standard_error():
    values = np.random.default_rng(0).normal(size=(1, 200))

    assert resampled(even(values)).std() == pytest.approx(values.std() / math.sqrt(200), rel=0.04)


def test_weights_make_f1_of_the_counts():
    correct, total = np.array([2, 0, 1, 0]), np.array([4, 3, 6, 0])
    scores = np.divide(2 * correct, total, out=np.zeros(4), where=total > 0)

    assert Scores(scores[None], total[None].astype(float)).metrics() == pytest.approx([2 * 3 / 13])


def test_the_same_input_gives_the_same_interval():
    one, other = (even(np.random.default_rng(seed).normal(size=(2, 50))) for seed in (1, 2))

    assert over_both(one, other, paired=True) == over_both(one, other, paired=True)


def test_equal_scores_have_no_difference_and_a_p_value_of_1():
    scores = even(np.random.default_rng(0).normal(size=(2, 50)))

    found = over_examples(scores, scores)

    assert (found.value, found.low, found.high, found.differs) == (0, 0, 0, False)
    assert found.p == pytest.approx(1)


@pytest.mark.parametrize("paired", [True, False])
def test_equal_differences_of_few_seeds_cannot_be_tested(paired):
    one = np.array([0.5, 0.75]) if paired else np.array([0.5, 0.5])

    found = over_seeds(one, one + 0.25, paired=paired)

    assert (found.value, found.differs, found.p) == (0.25, False, 1.0)
    assert found.method.endswith("which all show the same difference: this cannot be tested; train more seeds")
    assert (found.plain()["low"], found.plain()["high"]) == (None, None)
    assert over_seeds(one, one, paired=paired).high == 0


def test_unequal_numbers_of_wins_are_judged_as_coins():
    assert sign_test(5, 5) == 1.0
    assert sign_test(0, 6) == pytest.approx(2 / 64)
    assert sign_test(1, 7) == pytest.approx(2 * (1 + 8) / 256)


def test_a_variance_that_seeds_and_examples_share_counts_once():
    rng = np.random.default_rng(0)
    one, other = (even(rng.normal(size=(8, 500))) for _ in range(2))  # only the interaction varies

    reach = t_quantile(0.95, 14) * math.sqrt(2 / (8 * 500))

    assert over_both(one, other, paired=False).high - over_both(one, other, paired=False).value < 1.6 * reach


def test_what_a_seed_does_to_both_pipelines_alike_is_no_noise_of_paired_differences():
    rng = np.random.default_rng(0)
    of_seeds, of_examples = rng.normal(size=(20, 1)) / math.sqrt(20), rng.normal(size=(1, 400))
    alike = rng.normal(size=(20, 400))

    found = over_both(even(3 * alike), even(3 * alike + of_seeds + of_examples), paired=True)

    expected = over_both(even(0 * alike), even(of_seeds + of_examples), paired=True)
    assert found.high - found.value == pytest.approx(expected.high - expected.value)


def share_found(differs, size, cases=100):
    """Return in how many of 100 simulated comparisons a true difference of `size` standard errors is found."""
    return 100 * sum(differs(np.random.default_rng(case), size) for case in range(cases)) / cases


def right_or_wrong(rng, size, count=400):
    """Two models that are right on 80 % of the examples, and mostly on the same ones."""
    hard = rng.normal(size=count)
    one, other = (hard + rng.normal(size=count) < 1.19 for _ in range(2))
    error = math.sqrt(2 * 0.105 / count)  # of the difference: one of them is right on 21 % of the examples
    flipped = ~other & (rng.random(count) < size * error / 0.2)
    return over_examples(even(one[None]), even((other | flipped)[None])).differs


def seeds(rng, size, count=10):
    one, other = rng.normal(size=(2, count))
    return over_seeds(one, other + size * math.sqrt(2 / count), paired=False).differs


def both(rng, size, models=10, count=200, of_seed=0.1, of_example=0.5):
    """Scores with a part for the seed, one for the example and one for neither."""
    error = math.sqrt(2 * (of_seed**2 / models + of_example**2 / count + 1 / (models * count)))
    shared = rng.normal(size=(1, count))
    parts = [
        shared
        + of_seed * rng.normal(size=(models, 1))
        + of_example * rng.normal(size=(1, count))
        + rng.normal(size=(models, count))
        for _ in range(2)
    ]
    return over_both(even(parts[0]), even(parts[1] + size * error), paired=False).differs


def both_paired(rng, size, models=10, count=200, of_seed=0.1, of_example=0.5):
    """Scores of the same seeds: the part for neither is common to both pipelines, the other two are not."""
    alike = rng.normal(size=(models, count))
    differences = of_seed * rng.normal(size=(models, 1)) + of_example * rng.normal(size=(1, count))
    error = math.sqrt(of_seed**2 / models + of_example**2 / count)
    return over_both(even(alike), even(alike + differences + size * error), paired=True).differs


@pytest.mark.slow
@pytest.mark.parametrize("simulate", [right_or_wrong, seeds, both, both_paired])
def test_what_does_not_differ_is_said_not_to_and_two_standard_errors_are_found(simulate, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    cases = 1000

    assert 100 - share_found(simulate, 0, cases) >= 90 - 2  # 2: twice the standard error of 1000 cases
    assert share_found(simulate, 2, cases) >= 60


@pytest.mark.parametrize("others", [[0.2, 0.9, 0.6], [0.2, 0.9, 0.6, 0.3, 0.8]])
def test_intervals_over_seeds_are_those_of_scipy(others):
    scipy = pytest.importorskip("scipy.stats")
    one, other = np.array([0.5, 0.4, 0.45]), np.array(others)
    paired = len(one) == len(other)

    found = over_seeds(one, other, paired=paired)

    expected = scipy.ttest_rel(other, one) if paired else scipy.ttest_ind(other, one, equal_var=False)
    interval = expected.confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=2e-3)
    assert found.p == pytest.approx(expected.pvalue, abs=2e-3)


def test_the_interval_over_few_examples_is_about_as_wide_as_that_of_a_t_test():
    scipy = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).normal(size=6)

    found = over_examples(even(np.zeros((1, 6))), even(values[None]))

    expected = scipy.ttest_1samp(values, 0).confidence_interval(0.9)
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.06)


@pytest.mark.parametrize("paired", [True, False])
def test_without_noise_of_examples_the_interval_over_both_is_that_over_seeds(paired):
    one, other = np.array([0.5, 0.4, 0.45]), np.array([0.2, 0.9, 0.6])

    found = over_both(even(one.repeat(7).reshape(3, 7)), even(other.repeat(7).reshape(3, 7)), paired=paired)

    expected = over_seeds(one, other, paired=paired)
    assert (found.low, found.high, found.p) == pytest.approx((expected.low, expected.high, expected.p))


def test_without_noise_of_seeds_the_interval_over_both_is_that_of_a_t_test_over_examples():
    scipy = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).normal(size=6)

    found = over_both(even(np.zeros((2, 6))), even(np.stack([values, values])), paired=True)

    interval = scipy.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=0.03)
