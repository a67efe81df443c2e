import copy
import re

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe.testing import check_resume
from dlpipe.training import Budget
from dlpipe_rl.a2c import a2c
from dlpipe_rl.actor_critic import ActorCritic
from dlpipe_rl.dqn import DQN
from dlpipe_rl.gymnasium_id import environment
from dlpipe_rl.policy_network import PolicyNetwork
from dlpipe_rl.ppo import ppo
from dlpipe_rl.q_network import QNetwork
from dlpipe_rl.randomness import torch_generator
from dlpipe_rl.reinforce import reinforce

from .conftest import CPU, corridor

pytestmark = pytest.mark.usefixtures("without_report")

SMALL = ["trainer.learning_starts=20", "trainer.batch_size=5", "model.hidden=[7]", "evaluators.play.episodes=3"]


def trainer(data=None, **options):
    torch.manual_seed(0)
    data = data or corridor(length=3)
    model = QNetwork(data.facts["obs_shape"], data.facts["num_actions"] or 1, hidden=(9,))
    return DQN(model, data, CPU, 3, **{"learning_starts": 20, "batch_size": 6, "epsilon_timesteps": 10, **options})


def take(made, count):
    steps = made.steps()
    return [next(steps) for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dqn_cartpole", []),
        (
            "dqn_cartpole",
            [
                "trainer.priority_alpha=0.6",
                "trainer.n_step=3",
                "trainer.num_envs=3",
                "model.dueling=true",
                "trainer.timesteps=123",
            ],
        ),
        ("dqn_cartpole", ["model.noisy=true", "trainer.replay_size=30", "trainer.tau=0.1"]),
        (
            "dqn_catch",
            [
                "trainer.gradient_steps=2",
                'trainer.schedule={use="linear"}',
                "trainer.train_every=3",
                "trainer.timesteps=122",
            ],
        ),
    ],
    ids=["plain", "prioritized", "noisy", "catch"],
)
def test_a_stopped_and_resumed_run_ends_as_an_uninterrupted_one(root, tmp_path, name, options):
    sizes = ["trainer.timesteps=120", "trainer.steps=12", "trainer.evaluate_every=6"]

    check_resume(root / "pipelines" / f"{name}.toml", tmp_path, assignments=[*SMALL, *sizes, *options], stops=(1, 7))


def test_the_budget_counts_timesteps_of_all_environments():
    made = trainer(timesteps=50, num_envs=2, train_every=3)

    take(made, made.total_steps)

    assert made.total_steps == 1 + (50 - 20) // 6
    assert made.log_values()["timesteps"] == 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"timesteps": 19},
            "timesteps = 19: the first step takes 20 (learning_starts = 20, num_envs = 1, train_every = 1); expected "
            "at least 20",
        ),
        (
            {"timesteps": 53, "num_envs": 2, "train_every": 3},
            "timesteps = 53: a step takes 6 (learning_starts = 20, num_envs = 2, train_every = 3), so 53 cannot be "
            "met; expected 50 or 56",
        ),
        ({"replay_size": 2, "num_envs": 2}, "replay_size = 2: expected more than num_envs = 2, since the end of an"),
        ({"batch_size": 200, "replay_size": 100}, "batch_size = 200: expected at most replay_size = 100"),
        (
            {"epsilon_timesteps": None},
            "epsilon_timesteps is not set, and only time ends this run; set it, or timesteps",
        ),
        (
            {"priority_alpha": 0.6, "importance_beta": 0.5},
            "importance_beta = 0.5 grows to 1 over the timesteps of the run, and only time ends this run; set timesteps, "
            "or importance_beta = 1",
        ),
    ],
)
def test_options_that_cannot_be_obeyed_are_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        trainer(**options)


@pytest.mark.parametrize(
    ("budget", "timesteps"), [(Budget(steps=1981), None), (Budget(), 2000), (Budget(steps=1981), 9000)]
)
def test_epsilon_decays_over_a_tenth_of_the_run_whatever_ends_it(budget, timesteps):
    made = trainer(budget=budget, timesteps=timesteps, epsilon_timesteps=None, epsilon_end=0.0)

    take(made, 81)  # 20 timesteps for the first, 1 for each of the others

    assert made.log_values()["timesteps"] == 100
    assert made.log_values()["epsilon"] == pytest.approx(0.5)


def test_a_noisy_model_that_also_acts_at_random_is_told():
    def caveats(**options):
        return DQN(QNetwork((1,), 2, noisy=True), corridor(length=3), CPU, 3, timesteps=2000, **options).caveats

    assert caveats(epsilon_schedule="constant", epsilon_end=0.0) == corridor(length=3).caveats()
    assert "noise in its weights, and ε (up to 1.0) makes actions random as well" in caveats()[-1]


@pytest.mark.parametrize(("loss", "measure"), [("huber", F.smooth_l1_loss), ("mse", F.mse_loss)])
def test_the_first_step_fills_the_replay_buffer_before_its_update(loss, measure):
    made = trainer(num_envs=3, loss=loss, gamma=0.9)
    before = copy.deepcopy(made.model)

    (first,) = take(made, 1)

    assert made.log_values()["timesteps"] == 21
    batch = made._replay.sample(6, torch_generator(3, "replay"))
    targets = batch.returns + batch.discounts * before(batch.next_obs).amax(1)  # both networks are still the same
    taken = before(batch.obs)[torch.arange(6), batch.actions[:, 0]]
    assert_close(first["loss"], measure(taken, targets).detach())


def test_the_correction_of_prioritized_replay_grows_to_the_whole_by_the_last_timestep():
    made, seen = trainer(timesteps=60, priority_alpha=0.6, importance_beta=0.4), []
    sample = made._priorities.sample
    made._priorities.sample = lambda size, beta, rng: seen.append((made._timestep, beta)) or sample(size, beta, rng)

    take(made, 45)

    assert seen == [(now, pytest.approx(0.4 + 0.6 * min(1, now / 60))) for now, _ in seen]
    assert [now for now, _ in seen][:2] == [20, 21]
    assert [beta for now, beta in seen if now >= 60] == [1.0] * 5


def test_the_whole_correction_needs_no_end_of_the_run():
    made, seen = trainer(priority_alpha=0.6, importance_beta=1.0), []
    sample = made._priorities.sample
    made._priorities.sample = lambda size, beta, rng: seen.append(beta) or sample(size, beta, rng)

    take(made, 3)

    assert seen == [1.0] * 3


def test_a_step_reports_return_and_length_of_ended_episodes():
    told = [
        metrics for metrics in take(trainer(epsilon_schedule="constant", epsilon_end=1.0), 60) if "return" in metrics
    ]

    assert told
    assert all(metrics["return"] >= 6 and metrics["length"] >= 3 for metrics in told)
    assert all(metrics["episodes"] == 1 for metrics in told[1:])
    assert told[0]["episodes"] > 1  # while the replay buffer was filled


def test_epsilon_is_the_probability_of_a_random_action():
    made = trainer(epsilon_schedule="constant", epsilon_end=0.5)
    with torch.no_grad():
        made.model.layers[-1].bias.copy_(torch.tensor([100.0, 0.0]))

    actions = torch.tensor([made._actions(torch.zeros(4, 1).numpy()) for _ in range(500)])

    assert_close(actions.float().mean(), torch.tensor(0.25), atol=0.03, rtol=0)


def test_the_action_values_of_a_corridor_match_those_calculated_by_hand():
    # With γ = 0.5: at place 2 it is best to stay forever, 2 / (1 - 0.5) = 4, where going on brings 3 and the end.
    made = trainer(
        timesteps=2000,
        gamma=0.5,
        target_every=20,
        batch_size=32,
        optimizer={"use": "adam", "lr": 0.01},
        epsilon_timesteps=200,
        loss="mse",
    )

    take(made, 1500)

    values = made.model(torch.tensor([[0.0], [1.0], [2.0]]))
    staying, going_on = [0 + 0.5 * 3, 1 + 0.5 * 4, 2 + 0.5 * 4], [1 + 0.5 * 4, 2 + 0.5 * 4, 3 + 0]
    assert_close(values.detach(), torch.tensor([staying, going_on]).T, atol=0.1, rtol=0)


@pytest.mark.parametrize("extra", [{"priority_alpha": 0.6}, {"n_step": 3}, {"double": False}])
def test_the_extensions_find_the_best_policy_of_a_corridor_too(extra):
    made = trainer(timesteps=5000, gamma=0.5, target_every=20, optimizer={"use": "adam", "lr": 0.01}, **extra)

    take(made, 1000)

    assert made.model(torch.tensor([[0.0], [1.0], [2.0]])).argmax(1).tolist() == [1, 1, 0]


def test_a_step_does_not_use_the_global_random_generator():
    torch.manual_seed(5)
    made = trainer()
    before = torch.get_rng_state()

    take(made, 3)

    assert torch.get_rng_state().equal(before)


def test_continuous_actions_are_refused_with_an_alternative():
    with pytest.raises(InputError, match=r"Pendulum-v1 has continuous actions \(a Box of shape \(1,\)\).*rl.sac"):
        trainer(environment(id="Pendulum-v1"))
    with pytest.raises(InputError, match=r"one output per action.*continuous actions.*rl.soft_actor_critic"):
        QNetwork((3,), 0)


def test_a_replay_buffer_larger_than_the_disk_is_refused():
    with pytest.raises(InputError, match="lower replay_size = 1,000,000,000,000"):
        trainer(replay_size=10**12)


def test_the_size_of_the_replay_buffer_is_a_note():
    assert trainer().notes == ["replay of 100,001 frames: 400 kB in memory"]


def test_a_plateau_schedule_reacts_to_scores_only():
    made = trainer(
        schedule={"use": "reduce_on_plateau", "patience": 0, "factor": 0.5}, optimizer={"use": "sgd", "lr": 0.1}
    )

    take(made, 3)
    rate = made.log_values()["lr"]
    for score in (1.0, 2.0):
        made.on_score(score, "min")

    assert rate == 0.1
    assert made.log_values()["lr"] == 0.05


@pytest.mark.parametrize("model", [PolicyNetwork((1,), 2, ()), ActorCritic((1,), 2, ())])
def test_a_model_of_action_probabilities_is_refused(model):
    with pytest.raises(InputError, match=r"rl\.dqn needs the values of actions, and the model \w+ gives probabilities"):
        DQN(model, corridor(length=3), CPU, 3, timesteps=2000)


@pytest.mark.parametrize("make", [DQN, a2c, ppo, reinforce])
def test_data_that_is_no_environment_is_refused(make):
    message = r"rl\.\w+ needs environments, such as rl\.environment, or data of yours with .*; the data is object"
    with pytest.raises(InputError, match=message):
        make(ActorCritic((1,), 2, ()), object(), CPU, 3)


def test_a_step_has_as_many_updates_as_gradient_steps_says_and_their_mean_loss():
    made, losses = trainer(gradient_steps=3), []
    update = made._learning.update
    made._learning.update = lambda batch: losses.append(update(batch)) or losses[-1]

    (step,) = take(made, 1)

    assert len(losses) == 3
    assert_close(step["loss"], torch.stack(losses).mean())
