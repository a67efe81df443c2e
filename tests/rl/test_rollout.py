import torch
from torch import nn
from torch.testing import assert_close

from dlpipe_rl.action_heads import Categorical
from dlpipe_rl.rollout import RolloutCollector

from .conftest import CPU, corridor


class Walker(nn.Module):
    """Always takes action 1, and values place p at 10 p."""

    def __init__(self):
        super().__init__()
        self.head = Categorical(1, 2)

    def forward(self, obs):
        return torch.tensor([[-100.0, 100.0]]).expand(len(obs), 2), 10 * obs.squeeze(1)

    def value(self, outputs):
        return outputs[1]


class Waverer(Walker):
    """Takes either action with probability 0.5."""

    def forward(self, obs):
        return torch.zeros(len(obs), 2), 10 * obs.squeeze(1)


def collector(model=None, num_envs=1, seed=0, **options):
    return RolloutCollector(model or Walker(), corridor(**options).training_envs(num_envs, 0), CPU, seed)


def test_a_rollout_has_the_values_before_and_after_each_step():
    made = collector(length=9).collect_steps(3)

    assert made.obs.flatten().tolist() == [0, 1, 2]
    assert made.actions.flatten().tolist() == [1, 1, 1]
    assert made.values.flatten().tolist() == [0, 10, 20]
    assert made.next_values.flatten().tolist() == [10, 20, 30]
    assert made.rewards.flatten().tolist() == [1, 2, 3]
    assert_close(made.log_probs, torch.zeros(3, 1))
    assert made.mask.all()
    assert made.episodes == ()


def test_the_next_value_is_0_after_termination_and_of_the_final_observation_after_truncation():
    terminated, truncated = collector(length=2).collect_steps(3), collector(length=9, cut=2).collect_steps(3)

    assert terminated.next_values.flatten().tolist() == [10, 0, 10]
    assert truncated.next_values.flatten().tolist() == [10, 20, 10]
    assert terminated.dones.flatten().tolist() == truncated.dones.flatten().tolist() == [False, True, False]
    assert [episode.total for episode in (*terminated.episodes, *truncated.episodes)] == [3, 3]


def test_a_rollout_continues_the_current_episodes():
    collecting = collector(length=9)

    collecting.collect_steps(2)

    assert collecting.collect_steps(2).obs.flatten().tolist() == [2, 3]
    assert collecting.timestep == 4


def test_only_the_first_episode_of_each_environment_is_unmasked():
    made = collector(Waverer(), num_envs=5, seed=1, length=3).collect_episodes()

    lengths = made.mask.sum(0)
    assert len(set(lengths.tolist())) > 1
    assert len(made.episodes) == 5
    assert sorted(episode.length for episode in made.episodes) == sorted(lengths.tolist())
    for index, length in enumerate(lengths):
        assert made.dones[length - 1, index]
        assert not made.dones[: length - 1, index].any()


def test_collecting_episodes_resets_the_environments():
    collecting = collector(Waverer(), num_envs=2, length=3)

    assert not collecting.collect_episodes().obs[0].any()
    assert not collecting.collect_episodes().obs[0].any()


def test_a_restored_collector_collects_the_same_steps():
    first, second = (collector(Waverer(), num_envs=3, length=5, cut=9) for _ in range(2))
    first.collect_steps(7)

    second.load_state_dict(first.state_dict())

    one, other = first.collect_steps(20), second.collect_steps(20)
    assert one.actions.equal(other.actions)
    assert one.obs.equal(other.obs)
    assert first.timestep == second.timestep


def test_a_model_without_values_gives_zeros():
    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = Categorical(1, 2)

        def forward(self, obs):
            return torch.zeros(len(obs), 2)

    made = collector(Policy(), length=9).collect_steps(3)

    assert not made.values.any()
    assert not made.next_values.any()
