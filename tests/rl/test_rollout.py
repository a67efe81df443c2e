import torch
from torch import nn
from torch.testing import assert_close

from dlpipe_rl.action_heads import Categorical
from dlpipe_rl.rollout import RolloutCollector

from .conftest import CPU, corridor


class Walker(nn.Module):
    """Goes on always, and values place p at 10 p."""

    def __init__(self):
        super().__init__()
        self.head = Categorical(1, 2)

    def forward(self, obs):
        return torch.tensor([[-100.0, 100.0]]).expand(len(obs), 2), 10 * obs.squeeze(1)

    def value(self, outputs):
        return outputs[1]


class Waverer(Walker):
    """Goes on or stays, just as it happens."""

    def forward(self, obs):
        return torch.zeros(len(obs), 2), 10 * obs.squeeze(1)


def collector(model=None, players=1, seed=0, **options):
    return RolloutCollector(model or Walker(), corridor(**options).training_envs(players, 0), CPU, seed)


def test_moves_are_told_with_what_was_expected_before_and_after():
    made = collector(length=9).collect_steps(3)

    assert made.obs.flatten().tolist() == [0, 1, 2]
    assert made.actions.flatten().tolist() == [1, 1, 1]
    assert made.values.flatten().tolist() == [0, 10, 20]
    assert made.next_values.flatten().tolist() == [10, 20, 30]
    assert made.rewards.flatten().tolist() == [1, 2, 3]
    assert_close(made.log_probs, torch.zeros(3, 1))
    assert made.mask.all()
    assert made.episodes == ()


def test_behind_an_end_nothing_is_expected_and_behind_a_cut_what_was_seen_last():
    ended, cut = collector(length=2).collect_steps(3), collector(length=9, cut=2).collect_steps(3)

    assert ended.next_values.flatten().tolist() == [10, 0, 10]
    assert cut.next_values.flatten().tolist() == [10, 20, 10]
    assert ended.dones.flatten().tolist() == cut.dones.flatten().tolist() == [False, True, False]
    assert [episode.total for episode in (*ended.episodes, *cut.episodes)] == [3, 3]


def test_playing_goes_on_where_it_was():
    playing = collector(length=9)

    playing.collect_steps(2)

    assert playing.collect_steps(2).obs.flatten().tolist() == [2, 3]
    assert playing.timestep == 4


def test_whole_episodes_are_played_and_only_the_first_of_each_player_is_used():
    made = collector(Waverer(), players=5, seed=1, length=3).collect_episodes()

    lengths = made.mask.sum(0)
    assert len(set(lengths.tolist())) > 1
    assert len(made.episodes) == 5
    assert sorted(episode.length for episode in made.episodes) == sorted(lengths.tolist())
    for player, length in enumerate(lengths):
        assert made.dones[length - 1, player]
        assert not made.dones[: length - 1, player].any()


def test_whole_episodes_begin_anew_each_time():
    playing = collector(Waverer(), players=2, length=3)

    assert not playing.collect_episodes().obs[0].any()
    assert not playing.collect_episodes().obs[0].any()


def test_a_restored_collector_goes_on_alike():
    first, second = (collector(Waverer(), players=3, length=5, cut=9) for _ in range(2))
    first.collect_steps(7)

    second.load_state_dict(first.state_dict())

    one, other = first.collect_steps(20), second.collect_steps(20)
    assert one.actions.equal(other.actions)
    assert one.obs.equal(other.obs)
    assert first.timestep == second.timestep


def test_a_model_without_values_expects_nothing():
    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = Categorical(1, 2)

        def forward(self, obs):
            return torch.zeros(len(obs), 2)

    made = collector(Policy(), length=9).collect_steps(3)

    assert not made.values.any()
    assert not made.next_values.any()
