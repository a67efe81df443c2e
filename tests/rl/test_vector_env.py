import numpy as np
import pytest
import torch

from .conftest import Corridor, corridor


def players(count=3, seed=5, **options):
    return corridor(**options).training_envs(count, seed)


def test_an_ended_episode_is_followed_by_the_next_in_the_same_step():
    playing = players(2, length=2)
    playing.reset()

    playing.step([1, 0])
    moves = playing.step([1, 1])

    assert moves.obs.tolist() == [[0], [1]]
    assert moves.final_obs[0].tolist() == [2]
    assert moves.terminated == [True, False]
    assert moves.rewards == [2, 1]
    assert (moves.episodes[0].total, moves.episodes[0].length, set(moves.episodes)) == (3, 2, {0})


def test_an_end_and_a_cut_are_kept_apart():
    playing = players(2, length=2, cut=2)
    playing.reset()

    playing.step([1, 0])
    moves = playing.step([1, 0])

    assert moves.terminated == [True, False]
    assert moves.truncated == [False, True]
    assert not moves.episodes[1].terminated


def test_a_stack_begins_with_the_first_frame_and_moves_on_by_one():
    playing = players(1, length=9, frame_stack=3)

    assert playing.reset().tolist() == [[0, 0, 0]]
    assert playing.step([1]).obs.tolist() == [[0, 0, 1]]
    assert playing.step([1]).obs.tolist() == [[0, 1, 2]]
    assert playing.step([1]).obs.tolist() == [[1, 2, 3]]


def test_the_stack_of_an_ended_episode_knows_nothing_of_the_next():
    playing = players(1, length=2, frame_stack=2)
    playing.reset()
    playing.step([1])

    moves = playing.step([1])

    assert moves.final_obs[0].tolist() == [1, 2]
    assert moves.obs.tolist() == [[0, 0]]


def test_no_two_players_and_no_evaluation_play_the_same_episodes():
    data = corridor()
    training = data.training_envs(3, 5)
    training.reset()
    seeds = {env.seed for env in training._envs}
    evaluations = [player._envs[0] for split in ("dev", "test") for player in data.evaluation_envs(100, split)]
    for env in evaluations:
        env.reset()

    assert len(seeds) == 3
    assert min(seeds) >= 2**20
    assert [env.seed for env in evaluations] == [*range(10_000, 10_100), *range(20_000, 20_100)]


@pytest.mark.parametrize("frame_stack", [1, 3])
def test_restored_players_go_on_as_if_nothing_had_happened(frame_stack):
    options = {"length": 5, "shifted": True, "frame_stack": frame_stack}
    first, second = players(**options), players(**options)
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


def test_a_state_is_not_changed_by_playing_on():
    playing = players(1, length=9)
    playing.reset()
    playing.step([1])
    saved = playing.state()

    playing.step([1])

    assert saved["obs"].tolist() == [[1]]
    assert saved["actions"][0].tolist() == [1]


class Unrepeatable(Corridor):
    """Begins each time where no earlier one began."""

    begun = 0

    def reset(self, **options):
        answer = super().reset(**options)
        Unrepeatable.begun += 1
        self.place = Unrepeatable.begun
        return self.seen(), answer[1]


def test_players_that_see_something_else_when_restored_say_so():
    playing = players(1, kind=Unrepeatable, length=90)
    playing.reset()
    playing.step([1])

    with pytest.warns(UserWarning, match="not repeatable: replayed with the same seed"):
        players(1, kind=Unrepeatable, length=90).restore(playing.state())


def test_data_that_does_not_repeat_itself_has_a_caveat():
    assert corridor(length=90).caveats() == []
    (told,) = corridor(kind=Unrepeatable, length=90).caveats()
    assert "Corridor is not repeatable" in told


def test_a_state_is_loaded_without_running_code(tmp_path):
    playing = players()
    playing.reset()
    playing.step([1, 0, 1])
    torch.save(playing.state(), tmp_path / "state.pt")

    assert players().restore(torch.load(tmp_path / "state.pt", weights_only=True)).tolist() == [[1], [0], [1]]
