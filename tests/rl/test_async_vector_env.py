import os
import signal
from functools import partial

import numpy as np
import pytest
import torch

from dlpipe.errors import DlpipeError
from dlpipe_rl import ppo as module
from dlpipe_rl.actor_critic import ActorCritic
from dlpipe_rl.async_vector_env import AsyncVectorEnv
from dlpipe_rl.dqn import DQN
from dlpipe_rl.gymnasium_id import environment
from dlpipe_rl.q_network import QNetwork

from .conftest import CPU

#: Five environments in two unequal shares.
NUM_ENVS, WORKERS = 5, 2


def dqn(data):
    return DQN(
        QNetwork((4,), 2, hidden=(5,)), data, CPU, 3, num_envs=3, learning_starts=30, batch_size=8, epsilon_timesteps=9
    )


def ppo(data):
    return module.ppo(ActorCritic((4,), 2, (), hidden=(5,)), data, CPU, 3, num_envs=3, rollout_steps=20, batch_size=30)


@pytest.fixture(scope="module")
def both():
    """The same five environments in this process and in two others."""
    local, apart = (environment(num_workers=workers).training_envs(NUM_ENVS, 3) for workers in (0, WORKERS))
    yield local, apart
    apart.close()


def test_several_processes_give_the_same_steps_and_states_as_one(both):
    local, apart = both
    random = np.random.default_rng(0)
    assert np.array_equal(local.reset(), apart.reset())
    assert len(apart) == NUM_ENVS

    for _ in range(60):
        actions = random.integers(2, size=NUM_ENVS)
        here, there = local.step(actions), apart.step(actions)
        assert np.array_equal(here.obs, there.obs)
        assert (here.rewards, here.terminated, here.truncated) == (there.rewards, there.terminated, there.truncated)
        assert here.episodes == there.episodes
        assert {index: obs.tolist() for index, obs in here.final_obs.items()} == {
            index: obs.tolist() for index, obs in there.final_obs.items()
        }

    mine, theirs = local.state(), apart.state()
    assert mine["episodes"] == theirs["episodes"]
    assert all(torch.equal(one, other) for one, other in zip(mine["actions"], theirs["actions"], strict=True))
    apart.step(np.zeros(NUM_ENVS, np.int64))
    assert np.array_equal(apart.restore(mine), local._obs)


def test_what_is_restored_differently_in_a_process_is_a_warning_in_the_trainers_process(both, capfd):
    both[1].reset()
    saved = both[1].state()

    both[1].restore(saved | {"actions": [torch.tensor([1])] * NUM_ENVS})  # as if they had moved without an action

    with pytest.warns(UserWarning, match="environment CartPole-v1 is not repeatable: replayed with the same seed"):
        environment().check_restored(both[1], saved)
    assert capfd.readouterr().err == ""


def test_an_error_in_a_process_is_raised_in_the_trainers_process(both):
    both[1].reset()

    with pytest.raises(DlpipeError, match=r"CartPole-v1 raised AssertionError: 77 .* in step\(\), at timestep 1"):
        both[1].step(np.array([0, 0, 0, 0, 77]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            partial(environment(arguments={"speed": 3})._make_training_envs, 3),
            r'^id = "CartPole-v1": the environment could not be created: TypeError: .*speed',
        ),
        (int, r"^an environment process could not create its environments: TypeError: int\(\) argument must be"),
    ],
    ids=["refused", "raises"],
)
def test_environments_that_cannot_be_created_are_reported_with_the_reason(make, message):
    envs = AsyncVectorEnv(make, 2, 1)

    with pytest.raises(DlpipeError, match=message):
        envs.reset()
    envs.close()


@pytest.mark.parametrize("make", [dqn, ppo])
def test_a_trainer_learns_the_same_with_any_number_of_processes(make):
    learned = []
    for workers in (0, 1):
        torch.manual_seed(0)
        made = make(environment(num_workers=workers))
        taking = made.steps()
        metrics = [next(taking) for _ in range(4)]
        learned.append([float(numbers["loss"]) for numbers in metrics])
        made.close()

    assert learned[0] == learned[1]


def test_environment_processes_ignore_signals_from_their_start():
    envs = environment(num_workers=1).training_envs(NUM_ENVS, 3)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(envs._processes[0].pid, number)  # while it is still starting

    assert envs.reset().shape == (NUM_ENVS, 4)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(envs._processes[0].pid, number)
    assert envs.reset().shape == (NUM_ENVS, 4)
    envs.close()


def test_a_process_that_dies_is_reported_with_its_exit_code():
    envs = environment(num_workers=1).training_envs(NUM_ENVS, 3)
    os.kill(envs._processes[0].pid, signal.SIGKILL)

    with pytest.raises(
        DlpipeError, match=r"an environment process has ended unexpectedly \(exit code -9\).*dlpipe resume"
    ):
        envs.reset()
    envs.close()
