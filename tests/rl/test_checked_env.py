import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from dlpipe.errors import NonFiniteError
from dlpipe_rl.checked_env import MAX_TIMESTEPS, CheckedEnv, FaultyEnvironmentError

from .conftest import Corridor, Faulty, Shifted


def checked(env, seed=7):
    return CheckedEnv(env, "Corridor", lambda number: seed + number)


def test_every_episode_begins_from_the_seed_of_its_number():
    env = checked(Corridor(shifted=True))

    assert [env.reset().item() for _ in range(3)] == [7 % 3, 8 % 3, 9 % 3]
    assert env.reset(0).item() == 7 % 3
    assert env.seed == 7


def test_the_summary_of_an_episode_has_its_return_and_length():
    env = checked(Corridor(length=3))
    env.reset()

    steps = [env.step(action) for action in (1, 0, 1, 1)]

    assert [(reward, terminated) for _, reward, terminated, _ in steps] == [
        (1, False),
        (1, False),
        (2, False),
        (3, True),
    ]
    assert (env.summary(True).total, env.summary(True).length) == (7, 4)


def test_actions_are_counted_from_0_whatever_the_space_says():
    env = checked(Shifted())
    env.reset()

    assert env.step(1)[0].item() == 1
    assert env.step(0)[0].item() == 1


@pytest.mark.parametrize(
    ("space", "action", "taken"),
    [
        (spaces.Box(-1, 1, (3,)), [-4, 0.75, 2], [-1, 0.75, 1]),
        (spaces.Box(-1, 3, (3,), np.int64), [-4, 0.75, 9], [-1, 1, 3]),
        (spaces.Box(-1, 1, ()), 2, 1),
    ],
)
def test_actions_are_clipped_and_have_the_type_of_their_space(space, action, taken):
    class Recorder(Corridor):
        def __init__(self):
            super().__init__()
            self.action_space = space

        def step(self, action):
            self.taken = action
            return super().step(0)

    env = checked(Recorder())
    env.reset()
    env.step(np.array(action, np.float32))

    assert env.env.taken in space
    assert env.env.taken.tolist() == taken


@pytest.mark.parametrize(
    "space", [spaces.Box(-1, 1, (2,)), spaces.Box(-1, 3, (2,), np.int64)], ids=["floats", "integers"]
)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_an_action_that_is_not_finite_is_a_policy_that_diverged_and_no_fault_of_the_environment(space, value):
    env = Corridor()
    env.action_space = space
    env = checked(env)
    env.reset()

    with pytest.raises(
        NonFiniteError,
        match=rf"policy has diverged: its action in the environment Corridor is \[0.5, {value}\], at timestep 1 .* "
        r"seed 7.\nTry a lower learning rate, or limit the gradients with max_grad_norm = 1.0",
    ):
        env.step(np.array([0.5, float(value)], np.float32))
    assert env.env.timesteps == 0


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
        ("no reward", r"returned the reward None; expected a number in step\(\), at timestep 3 .* seed 7"),
        ("rewards", r"returned the reward array\(\[2\., 3\.\]\); expected a number in step\(\)"),
    ],
)
def test_a_faulty_return_value_is_reported_with_timestep_and_seed(fault, message):
    env = checked(Faulty(fault, length=10))
    env.reset()
    env.step(1)
    env.step(1)

    with pytest.raises(FaultyEnvironmentError, match=message + r".*dlpipe resume"):
        env.step(1)


def test_an_error_in_reset_is_reported():
    class Closed(Corridor):
        def reset(self, **_):
            raise OSError("no such level")

    with pytest.raises(FaultyEnvironmentError, match=r"raised OSError: no such level in reset\(\), at timestep 0"):
        checked(Closed()).reset()


def test_infinity_is_refused_even_if_the_space_is_unbounded():
    class Unbounded(Corridor):
        def __init__(self):
            super().__init__()
            self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)

        def obs(self):
            return np.array([np.inf], np.float32)

    with pytest.raises(FaultyEnvironmentError, match="observation with inf"):
        checked(Unbounded()).reset()


def test_an_episode_that_never_ends_is_reported():
    env = checked(Corridor(length=10**9))
    env.reset()
    env.actions = [0] * MAX_TIMESTEPS

    with pytest.raises(
        FaultyEnvironmentError, match=r"has not ended an episode after 1,000,000 timesteps.*max_episode_steps"
    ):
        env.step(0)


def test_a_time_limit_truncates_an_episode():
    env = checked(gym.wrappers.TimeLimit(Corridor(length=3), 2))
    env.reset()

    assert [env.step(0)[2:], env.step(0)[2:]] == [(False, False), (False, True)]
