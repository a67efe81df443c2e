import numpy as np
import pytest

from dlpipe_rl.statistics import bootstrap_interval, interquartile_mean


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    values = np.array([1000.0, 1, 2, 3, 4, 5, 6, -999])

    assert interquartile_mean(values) == np.mean([2, 3, 4, 5])
    assert interquartile_mean(np.array([7.0])) == 7
    assert interquartile_mean(np.stack([values, values + 1])).tolist() == [3.5, 4.5]


def test_the_interval_covers_the_true_mean_as_often_as_claimed():
    random = np.random.default_rng(0)
    held = []
    for _ in range(200):
        low, high = bootstrap_interval(random.normal(3, 2, size=60), lambda drawn: drawn.mean(-1))
        held.append(low <= 3 <= high)

    assert 0.88 <= np.mean(held) <= 0.99


def test_the_interval_is_the_same_every_time_and_a_point_for_equal_values():
    values = np.arange(9.0)

    assert bootstrap_interval(values, interquartile_mean) == bootstrap_interval(values, interquartile_mean)
    assert bootstrap_interval(np.full(5, 2.5), interquartile_mean) == pytest.approx((2.5, 2.5))
