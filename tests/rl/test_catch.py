import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dlpipe_rl.catch import Catch, catch
from dlpipe_rl.environments import Environments


def play(actions, seed=0, rows=5, columns=7, drift=0.0):
    env = Catch(rows, columns, drift)
    observed = [env.reset(seed=seed)[0]]
    steps = [env.step(action) for action in actions]
    return env, np.stack(observed + [step[0] for step in steps])[:, 0], steps


def test_a_ball_falls_straight_and_the_paddle_moves():
    _, boards, steps = play([0, 0, 1, 2])
    ball = int(boards[0, 0].argmax())

    assert [int(board[row].argmax()) for row, board in enumerate(boards[:-1])] == [ball] * 4
    assert [int(board[-1].argmax()) for board in boards[:-1]] == [3, 2, 1, 1]
    assert set(np.unique(boards)) == {0, 255}
    assert [step[2] for step in steps] == [False, False, False, True]


@pytest.mark.parametrize("seed", range(5))
def test_only_the_last_step_has_a_reward(seed):
    env, _, steps = play([1, 1, 1, 1], seed)

    assert [step[1] for step in steps[:-1]] == [0, 0, 0]
    assert steps[-1][1] == (1 if env._ball == env._paddle else -1)


def test_the_paddle_stays_on_the_board():
    assert [int(board[-1].argmax()) for board in play([0] * 4, columns=3)[1][1:-1]] == [0, 0, 0]


def test_every_ball_can_be_caught():
    for seed in range(50):
        env = Catch(10, 10, 0.0)
        env.reset(seed=seed)
        reward = 0.0
        for _ in range(9):
            reward = env.step(1 + int(np.sign(env._ball - env._paddle)))[1]
        assert reward == 1


def test_a_ball_can_drift_and_turns_round_at_the_wall():
    env = Catch(40, 3, 1.0)
    env.reset(seed=0)
    observed = [env._ball]
    for _ in range(38):
        env.step(1)
        observed.append(env._ball)

    assert set(np.abs(np.diff(observed))) == {1}
    assert set(observed) == {0, 1, 2}


def test_catch_passes_the_environment_check_of_gymnasium():
    check_env(Catch(10, 10, 0.5, "rgb_array"), skip_render_check=False)


def test_catch_has_the_facts_of_its_board():
    data = catch(rows=6, columns=4)

    assert isinstance(data, Environments)
    assert dict(data.facts) == {
        "obs_shape": (1, 6, 4),
        "obs_dtype": "uint8",
        "num_actions": 3,
        "action_shape": (),
        "action_bounds": (),
        "reward_range": (-1.0, 1.0),
        "reward_threshold": 1.0,
        "time_limit": 5,
    }
    assert data.fingerprint() == "Catch 6×4, version 1"
    assert data.caveats() == []
