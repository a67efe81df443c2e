import numpy as np
import pytest

from dlpipe_rl.checked_env import Episode
from dlpipe_rl.greedy import EpisodeTrace
from dlpipe_rl.overestimation import discounted_returns, value_return_pairs


def test_later_rewards_are_discounted_more():
    assert discounted_returns(np.array([1.0, 2, 4]), 0.5).tolist() == [1 + 1 + 1, 2 + 2, 4]


def test_all_timesteps_of_a_terminated_episode_are_compared():
    trace = EpisodeTrace(Episode(0, 7, 3, True), [0] * 3, [1, 2, 4], [5, 5, 5])

    values, returns = value_return_pairs([trace, trace], 0.5)

    assert values.tolist() == [5] * 6
    assert returns.tolist() == [3, 4, 4] * 2


def test_the_last_timesteps_of_a_truncated_episode_are_left_out():
    trace = EpisodeTrace(Episode(0, 7, 8, False), [0] * 8, [1.0] * 8, list(range(8)))

    values, returns = value_return_pairs([trace], 0.5)

    # In five timesteps 1 − 0.5⁵ of the future is observed, more than 95 %; the last four are left out.
    assert values.tolist() == [0, 1, 2, 3]
    assert returns[3] == pytest.approx(2 - 0.5**4)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_gamma_may_be_0_or_1(gamma):
    trace = EpisodeTrace(Episode(0, 7, 3, False), [0] * 3, [1, 2, 4], [5, 5, 5])

    assert len(value_return_pairs([trace], gamma)[0]) == (3 if gamma == 0 else 0)


def test_a_model_without_values_is_not_td_pairs():
    assert len(value_return_pairs([EpisodeTrace(Episode(0, 7, 3, True), [0] * 3, [1, 2, 4], [])], 0.9)[0]) == 0
