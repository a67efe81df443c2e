import csv

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe_rl.catch import catch
from dlpipe_rl.greedy import greedy_policy
from dlpipe_rl.gymnasium_id import environment
from dlpipe_rl.q_network import QNetwork
from dlpipe_rl.returns import Returns

from .conftest import CPU, Corridor, corridor


class Chooser(nn.Module):
    """Always prefers one action, with value 2."""

    def __init__(self, action):
        super().__init__()
        self.action = action

    def forward(self, obs):
        return 2.0 * torch.eye(3)[self.action].expand(len(obs), 3)

    def value(self, outputs):
        return outputs.amax(1)


class Follower(nn.Module):
    """Always catches the ball; has no values."""

    def forward(self, obs):
        ball = obs[:, 0, :-1].amax(1).argmax(1)
        paddle = obs[:, 0, -1].argmax(1)
        return torch.eye(3)[1 + torch.sign(ball - paddle).clamp(-1, 1).long()]


def judged(data, model, split="dev", **options):
    evaluator = Returns(data.facts["reward_threshold"], **{"gamma": 0.99} | options)
    return evaluator, evaluator.evaluate(model, Examples(data, split, CPU))


def test_statistics_are_those_of_whole_episodes():
    data = corridor(length=4, shifted=True)  # begins at 0, 1 or 2

    _, metrics = judged(data, Chooser(1), episodes=9, gamma=0.5)

    # 1 + 2 + 3 + 4, 2 + 3 + 4 or 3 + 4, three of each.
    assert metrics["return_mean"] == (10 + 9 + 7) / 3
    assert metrics["return_median"] == 9
    assert metrics["return_iqm"] == pytest.approx((9 * 3 + 10 + 7) / 5)
    assert metrics["return_iqm_low"] <= metrics["return_iqm"] <= metrics["return_iqm_high"]
    assert metrics["return_min"] == 7
    assert metrics["length_mean"] == 3
    assert "success" not in metrics


def test_each_episode_has_a_score_and_is_named_by_its_seed():
    evaluator, metrics = judged(corridor(length=4, shifted=True), Chooser(1), episodes=9)
    found = evaluator.example_scores()

    assert found.metric() == pytest.approx(metrics["return_mean"])
    assert len({*found.names}) == 9
    assert all(name.startswith("seed ") for name in found.names)


def test_every_environment_of_an_evaluation_is_closed(tmp_path):
    opened = []

    class Closable(Corridor):
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

        def __init__(self, **options):
            super().__init__(**options)
            opened.append(self)

        def render(self):
            return np.zeros((20, 30, 3), np.uint8)

        def close(self):
            opened.remove(self)

    evaluator, _ = judged(corridor(Closable, length=2), Chooser(1), episodes=2)
    evaluator.sample(tmp_path, 1)
    evaluator.write(tmp_path)

    assert (tmp_path / "episode.gif").exists()
    assert opened == []


def test_values_are_compared_with_actual_returns():
    _, metrics = judged(corridor(length=2), Chooser(1), episodes=3, gamma=0.5)

    # Rewards 1 and 2: worth 1 + 0.5 · 2 = 2, then 2; 2 are expected at both.
    assert metrics["value_mean"] == 2
    assert metrics["overestimation"] == 0
    assert judged(corridor(length=2), Chooser(1), episodes=3, gamma=0.0)[1]["overestimation"] == 0.5
    assert "overestimation" not in judged(corridor(length=2), Chooser(1), episodes=3, gamma=None)[1]


def test_values_are_compared_with_returns_of_rewards_as_in_training(tmp_path):
    evaluator, metrics = judged(corridor(length=2, training_reward=np.sign), Chooser(1), episodes=3, gamma=0.5)
    items = {item.file: item.caption for item in evaluator.write(tmp_path)}

    # Rewards 1 and 2 are 1 and 1 in training: worth 1.5, then 1.
    assert (metrics["return_mean"], metrics["value_mean"], metrics["overestimation"]) == (3, 2, 0.75)
    assert "(γ = 0.5, rewards as in training)" in items["values.png"]


def test_success_is_the_share_of_episodes_that_reach_the_threshold():
    _, metrics = judged(catch(), Follower(), episodes=20)

    assert metrics["success"] == metrics["return_mean"] == 1
    assert metrics["random_return_mean"] < 0
    assert "overestimation" not in metrics


def test_evaluating_twice_gives_the_same_metrics():
    data = environment()

    assert judged(data, Chooser(0), episodes=4)[1] == judged(data, Chooser(0), episodes=4)[1]


def test_each_split_has_its_own_episodes():
    evaluator, first = judged(environment(), Chooser(0), episodes=5)

    second = evaluator.evaluate(Chooser(0), Examples(environment(), "test", CPU))

    assert first["random_return_mean"] != second["random_return_mean"]


def test_a_noisy_network_is_evaluated_without_its_noise():
    torch.manual_seed(0)
    model, obs = QNetwork((1,), 3, hidden=(7,), noisy=True), torch.rand(200, 1)
    model.train()
    noisy = model(obs).argmax(1)

    act = greedy_policy(model, CPU)
    (actions, values), (again, _) = act(obs.numpy()), act(obs.numpy())

    quiet = model.eval()(obs)
    assert actions.tolist() == again.tolist() == quiet.argmax(1).tolist()
    assert values.tolist() == quiet.amax(1).tolist()
    assert noisy.tolist() != actions.tolist()


def test_a_fast_run_plays_few_episodes():
    evaluator = Returns(None, episodes=50)

    evaluator.evaluate(Chooser(1), Examples(corridor(), "dev", CPU, limit=2))

    assert len(evaluator._traces) == 2


def test_every_return_is_written_and_the_best_episode_is_shown(tmp_path):
    data = environment()
    evaluator, metrics = judged(data, Chooser(0), "test", episodes=5)

    items = {item.file: item.caption for item in evaluator.write(tmp_path)}

    assert list(items) == ["returns.png", "episode.gif", "values.png", "returns.csv"]
    assert sorted(items) == sorted(path.name for path in tmp_path.iterdir())
    with (tmp_path / "returns.csv").open() as file:
        rows = list(csv.DictReader(file))
    greedy = [row for row in rows if row["policy"] == "greedy"]
    assert [row["seed"] for row in greedy] == [str(20_000 + number) for number in range(5)]
    assert sum(float(row["return"]) for row in greedy) / 5 == metrics["return_mean"]
    assert len(rows) == 10
    best = max(float(row["return"]) for row in greedy)
    assert f"The best of the 5 episodes of test with the greedy policy: return {best:g} in" in items["episode.gif"]
    assert "5 episodes of test with the greedy policy (blue), and of 5" in items["returns.png"]
    with Image.open(tmp_path / "episode.gif") as gif:
        assert gif.n_frames > best
    for name in ("returns.png", "values.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 300


def test_a_sample_is_named_by_its_step(tmp_path):
    (item,) = judged(catch(), Follower(), episodes=2)[0].sample(tmp_path, 1200)

    assert [path.name for path in tmp_path.iterdir()] == ["step-00001200.gif"] == [item.file]
    assert item.caption.startswith("The best of 2 episodes of the evaluation at each step")


def test_an_environment_that_cannot_be_rendered_is_evaluated_without_a_gif(tmp_path):
    evaluator, _ = judged(corridor(), Chooser(1), "test", episodes=2)

    items = evaluator.write(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["returns.csv", "returns.png", "values.png"]
    assert [item.file for item in items] == ["returns.png", "values.png", "returns.csv"]
    assert evaluator.sample(tmp_path, 1) == []


def test_data_other_than_an_environment_is_refused():
    with pytest.raises(InputError, match="rl.returns needs environments, such as rl.environment, or data of yours"):
        Returns(None).evaluate(Chooser(0), Examples(object(), "dev", CPU))


def test_example_inputs_are_observations_of_one_episode_after_the_other():
    data = corridor(length=2, frame_stack=2)

    obs = data.example_inputs("dev", 9)["obs"]

    assert obs.shape == (9, 2)
    assert torch.equal(obs, data.example_inputs("dev", 9)["obs"])
    newest = obs[:, 1]
    assert set(newest.tolist()) == {0.0, 1.0}  # an episode begins again where one ends, at 2
    assert torch.equal(obs[1:, 0][newest[1:] > 0], newest[:-1][newest[1:] > 0])  # not overwritten by later ones
