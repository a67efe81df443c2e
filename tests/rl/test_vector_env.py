from functools import partial

import numpy as np
import pytest
import torch

from dlpipe_rl.checked_env import FaultyEnvironmentError
from dlpipe_rl.environments import EVALUATION_SEEDS, TRAINING_SEEDS, _training_seed

from .conftest import Corridor, EndsTwice, Faulty, corridor


def envs_of(count=3, seed=5, **options):
    return corridor(**options).training_envs(count, seed)


def test_an_ended_episode_is_reset_in_the_same_step():
    envs = envs_of(2, length=2)
    envs.reset()

    envs.step([1, 0])
    result = envs.step([1, 1])

    assert result.obs.tolist() == [[0], [1]]
    assert result.final_obs[0].tolist() == [2]
    assert result.terminated == [True, False]
    assert result.rewards == [2, 1]
    assert (result.episodes[0].total, result.episodes[0].length, set(result.episodes)) == (3, 2, {0})


def test_termination_and_truncation_are_distinguished():
    envs = envs_of(2, length=2, cut=2)
    envs.reset()

    envs.step([1, 0])
    result = envs.step([1, 0])

    assert result.terminated == [True, False]
    assert result.truncated == [False, True]
    assert not result.episodes[1].terminated


def test_a_stack_begins_with_copies_of_the_first_frame_and_shifts_by_one():
    envs = envs_of(1, length=9, frame_stack=3)

    assert envs.reset().tolist() == [[0, 0, 0]]
    assert envs.step([1]).obs.tolist() == [[0, 0, 1]]
    assert envs.step([1]).obs.tolist() == [[0, 1, 2]]
    assert envs.step([1]).obs.tolist() == [[1, 2, 3]]


def test_the_stack_of_an_ended_episode_has_no_frame_of_the_next():
    envs = envs_of(1, length=2, frame_stack=2)
    envs.reset()
    envs.step([1])

    result = envs.step([1])

    assert result.final_obs[0].tolist() == [1, 2]
    assert result.obs.tolist() == [[0, 0]]


def test_termination_counts_where_an_environment_also_reports_truncation():
    envs = envs_of(1, kind=EndsTwice, length=2)
    envs.reset()
    envs.step([1])

    result = envs.step([1])

    assert (result.terminated, result.truncated) == ([True], [False])
    assert result.episodes[0].terminated
    assert result.final_obs[0].tolist() == [2]


def test_no_training_seed_is_one_of_an_evaluation_however_many_episodes_are_played():
    reserved = range(min(EVALUATION_SEEDS.values()), max(EVALUATION_SEEDS.values()) + 1_000_000)

    training = {_training_seed(seed, index, number) for seed in range(5) for index in range(8) for number in range(500)}

    assert len(training) > 19_900  # 20,000, but for chance
    assert not any(seed in reserved for seed in training)
    assert TRAINING_SEEDS.start > reserved[-1]


def test_training_and_evaluation_environments_all_have_different_seeds():
    data = corridor()
    training = data.training_envs(3, 5)
    training.reset()
    seeds = {env.seed for env in training._envs}
    evaluations = [env._envs[0] for split in ("dev", "test") for env in data.evaluation_envs(100, split)]
    for env in evaluations:
        env.reset()

    assert len(seeds) == 3
    assert min(seeds) >= 2**20
    assert [env.seed for env in evaluations] == [*range(10_000, 10_100), *range(20_000, 20_100)]


@pytest.mark.parametrize("frame_stack", [1, 3])
def test_restored_environments_continue_as_without_interruption(frame_stack):
    options = {"length": 5, "shifted": True, "frame_stack": frame_stack}
    first, second = envs_of(**options), envs_of(**options)
    random = np.random.default_rng(0)
    first.reset()
    for _ in range(17):
        first.step(random.integers(2, size=3))

    saved = first.state()
    obs = second.restore(saved)

    assert obs.tolist() == first._obs.tolist()
    for _ in range(20):
        actions = random.integers(2, size=3)
        one, other = first.step(actions), second.step(actions)
        assert one.obs.tolist() == other.obs.tolist()
        assert one.episodes == other.episodes


def test_a_saved_state_does_not_change_with_later_steps():
    envs = envs_of(1, length=9)
    envs.reset()
    envs.step([1])
    saved = envs.state()

    envs.step([1])

    assert saved["obs"].tolist() == [[1]]
    assert saved["actions"][0].tolist() == [1]


class Unrepeatable(Corridor):
    """Begins each time where no earlier one began."""

    begun = 0

    def reset(self, **options):
        answer = super().reset(**options)
        Unrepeatable.begun += 1
        self.place = Unrepeatable.begun
        return self.obs(), answer[1]


class SeededOnce(Corridor):
    """Has a random generator of its own, which reset() does not seed."""

    def __init__(self, **options):
        super().__init__(**options)
        self.rng = np.random.default_rng(0)

    def reset(self, **options):
        answer = super().reset(**options)
        self.place = int(self.rng.integers(50))
        return self.obs(), answer[1]


class Drifting(Corridor):
    """Repeats only the beginning of an episode."""

    drift = 0

    def step(self, action):
        answer = super().step(action)
        if self.timesteps > 30:
            Drifting.drift += 1
            self.place = Drifting.drift % 50
        return self.obs(), *answer[1:]


class EndsDifferently(Corridor):
    """Is truncated in every second instance where the others terminate."""

    made = 0

    def __init__(self, **options):
        super().__init__(**options | {"length": 9})
        EndsDifferently.made += 1
        self.truncates = EndsDifferently.made % 2

    def step(self, action):
        obs, reward, ends, _, info = super().step(action)
        return obs, reward, ends and not self.truncates, ends and self.truncates, info


@pytest.mark.parametrize("kind", [Unrepeatable, SeededOnce, Drifting, EndsDifferently])
def test_an_environment_that_is_not_repeatable_has_a_caveat(kind):
    assert corridor(length=90).caveats() == []
    (caveat,) = corridor(kind=kind, length=90).caveats()
    assert "Corridor is not repeatable" in caveat


def test_caveats_are_found_once_and_leave_no_environment_open(monkeypatch):
    opened, closed = [], []
    data = corridor(length=90)
    make = data.make
    monkeypatch.setattr(data, "make", lambda: opened.append(make()) or opened[-1])
    monkeypatch.setattr(Corridor, "close", lambda env: closed.append(env))

    assert data.caveats() == data.caveats() == []
    assert closed == [env.unwrapped for env in opened]
    assert len(opened) == 3


def test_an_environment_that_raises_while_it_is_tried_is_closed(monkeypatch):
    closed = []
    monkeypatch.setattr(Corridor, "close", lambda env: closed.append(env))

    with pytest.raises(FaultyEnvironmentError, match="the motor is stuck"):
        corridor(kind=Faulty).caveats()

    assert len(closed) == 2  # one to look for wrappers, and the one that raised


class Shrinking(Corridor):
    """Every instance is shorter than the one before; past its end there is nothing."""

    length = 7

    def __init__(self, fault, render_mode=None):
        Shrinking.length -= 2
        super().__init__(Shrinking.length)
        self.fault = fault

    def step(self, action):
        if self.place == self.length or (self.fault == "raises" and self.place == self.length - 1):
            raise IndexError(self.place)
        return super().step(action)


@pytest.mark.parametrize("fault", ["ends", "raises"])
def test_an_episode_that_ends_early_when_it_is_replayed_is_followed_by_the_next(monkeypatch, fault):
    monkeypatch.setattr(Shrinking, "length", 7)
    data = corridor(partial(Shrinking, fault))
    envs, others = data.training_envs(1, 5), data.training_envs(1, 5)
    envs.reset()
    for _ in range(4):
        envs.step([1])

    obs = others.restore(envs.state())

    assert obs.tolist() == [[0]]
    assert (others._envs[0].number, others._envs[0].actions) == (1, [])
    assert others.step([1]).obs.tolist() == [[1]]
    with pytest.warns(
        UserWarning, match="Corridor is not repeatable: replayed with the same seed and the same actions"
    ):
        data.check_restored(others, envs.state())


def test_environments_that_are_restored_differently_warn_and_have_a_caveat():
    data = corridor(length=90)
    envs = data.training_envs(2, 5)
    envs.reset()
    saved = envs.step([1, 0]) and envs.state()
    data.check_restored(envs, saved)
    assert data.caveats() == []

    envs.restore(saved | {"actions": [torch.tensor([0]), torch.tensor([0])]})  # as if it had moved without an action
    with pytest.warns(
        UserWarning, match="Corridor is not repeatable: replayed with the same seed and the same actions"
    ):
        data.check_restored(envs, saved)

    assert "Corridor is not repeatable" in data.caveats()[0]


def test_a_state_is_loaded_without_running_code(tmp_path):
    envs = envs_of()
    envs.reset()
    envs.step([1, 0, 1])
    torch.save(envs.state(), tmp_path / "state.pt")

    assert envs_of().restore(torch.load(tmp_path / "state.pt", weights_only=True)).tolist() == [[1], [0], [1]]
