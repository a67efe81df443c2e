import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from dlpipe_rl.checked_env import MAX_TIMESTEPS, CheckedEnv, FaultyEnvironmentError

from .conftest import Corridor, Faulty


def episodes(env, seed=7):
    return CheckedEnv(env, "Corridor", lambda number: seed + number)


def test_every_episode_begins_from_the_seed_of_its_number():
    played = episodes(Corridor(shifted=True))

    assert [played.reset().item() for _ in range(3)] == [7 % 3, 8 % 3, 9 % 3]
    assert played.reset(0).item() == 7 % 3
    assert played.seed == 7


def test_an_episode_tells_its_sum_of_rewards_and_its_length():
    played = episodes(Corridor(length=3))
    played.reset()

    moves = [played.step(action) for action in (1, 0, 1, 1)]

    assert [(reward, terminated) for _, reward, terminated, _ in moves] == [
        (1, False),
        (1, False),
        (2, False),
        (3, True),
    ]
    assert (played.summary(True).total, played.summary(True).length) == (7, 4)


def test_actions_are_counted_from_0_whatever_the_space_says():
    class Shifted(Corridor):
        def __init__(self):
            super().__init__()
            self.action_space = spaces.Discrete(2, start=5)

        def step(self, action):
            assert action in self.action_space
            return super().step(action - 5)

    played = episodes(Shifted())
    played.reset()

    assert played.step(1)[0].item() == 1
    assert played.step(0)[0].item() == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raises", r"Corridor raised ZeroDivisionError: the motor is stuck in step\(\), at timestep 3 .* seed 7"),
        ("nan", r"observation with nan at \[0\], outside its space \(0 to 100\)"),
        ("infinite", r"observation with inf at \[0\]"),
        ("outside", r"observation with 101.0 at \[0\], outside its space \(0 to 100\)"),
        ("shape", r"float32 of shape \(2,\); its space expects float32 of shape \(1,\)"),
        ("dtype", r"float64 of shape \(1,\); its space expects float32"),
        ("type", r"an observation of type int; its space expects"),
        ("reward", r"returned the reward nan; expected a finite number"),
    ],
)
def test_what_an_environment_does_wrong_is_told_with_the_place(fault, message):
    played = episodes(Faulty(fault, length=10))
    played.reset()
    played.step(1)
    played.step(1)

    with pytest.raises(FaultyEnvironmentError, match=message + r".*dlpipe resume"):
        played.step(1)


def test_an_environment_that_cannot_begin_is_told_as_well():
    class Closed(Corridor):
        def reset(self, **_):
            raise OSError("no such level")

    with pytest.raises(FaultyEnvironmentError, match=r"raised OSError: no such level in reset\(\), at timestep 0"):
        episodes(Closed()).reset()


def test_an_infinite_bound_of_the_space_does_not_let_infinity_through():
    class Unbounded(Corridor):
        def __init__(self):
            super().__init__()
            self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)

        def seen(self):
            return np.array([np.inf], np.float32)

    with pytest.raises(FaultyEnvironmentError, match="observation with inf"):
        episodes(Unbounded()).reset()


def test_an_episode_without_an_end_is_told():
    played = episodes(Corridor(length=10**9))
    played.reset()
    played.actions = [0] * MAX_TIMESTEPS

    with pytest.raises(
        FaultyEnvironmentError, match=r"has not ended an episode after 1,000,000 timesteps.*max_episode_steps"
    ):
        played.step(0)


def test_a_time_limit_is_truncation_and_an_end_is_termination():
    played = episodes(gym.wrappers.TimeLimit(Corridor(length=3), 2))
    played.reset()

    assert [played.step(0)[2:], played.step(0)[2:]] == [(False, False), (False, True)]
