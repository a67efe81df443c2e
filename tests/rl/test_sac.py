import re

import pytest
import torch
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe.testing import check_resume
from dlpipe_rl.actor_critic import ActorCritic
from dlpipe_rl.environments import Environments
from dlpipe_rl.gymnasium_id import environment
from dlpipe_rl.sac import SAC
from dlpipe_rl.soft_actor_critic import SoftActorCritic

from .conftest import CPU, Aim, corridor

pytestmark = pytest.mark.usefixtures("without_report")

SMALL = [
    "trainer.learning_starts=20",
    "trainer.batch_size=5",
    "model.hidden=[7]",
    "evaluators.play.episodes=3",
    "trainer.replay_size=100",
]


def aim():
    return Environments("Aim", Aim, fingerprint="aim")


def trainer(data=None, hidden=(9,), **options):
    torch.manual_seed(0)
    data = data or aim()
    facts = data.facts
    model = SoftActorCritic(facts["obs_shape"], facts["action_shape"], facts["action_bounds"], hidden=hidden)
    return SAC(model, data, CPU, 3, **{"learning_starts": 20, "batch_size": 6, "replay_size": 10_000, **options})


def take(made, count):
    steps = made.steps()
    return [next(steps) for _ in range(count)]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["trainer.entropy_coef=0.1", "trainer.num_envs=3", "trainer.timesteps=123", "trainer.target_every=2"],
        ["trainer.gradient_steps=2", 'trainer.schedule={use="linear"}', "model.num_critics=1", "data.frame_stack=2"],
    ],
    ids=["plain", "several environments", "several updates"],
)
def test_a_stopped_and_resumed_run_ends_as_an_uninterrupted_one(root, tmp_path, options):
    sizes = ["trainer.timesteps=120", "trainer.steps=12", "trainer.evaluate_every=6"]
    pipeline = root / "pipelines" / "sac_pendulum.toml"

    check_resume(pipeline, tmp_path, assignments=[*SMALL, *sizes, *options], stops=(1, 7))


def test_the_policy_of_a_bandit_is_that_which_the_entropy_makes_best():
    # The density of the best policy is in proportion to exp(reward / α): normal, with variance α / 2.
    made = trainer(
        hidden=(32,),
        entropy_coef=0.02,
        learning_starts=500,
        batch_size=64,
        optimizer={"use": "adam", "lr": 3e-3},
        schedule={"use": "linear", "start_factor": 1.0, "end_factor": 0.01},
        timesteps=2500,
    )

    take(made, made.total_steps)

    with torch.no_grad():
        params, value = made.model(torch.zeros(1, 1))
        actions, _ = made.model.head.sample(params.expand(4000, 2, 2), torch.Generator().manual_seed(0))
    assert_close(made.model.predict((params, value))[0], torch.tensor([3.2, 0.25]), atol=0.12, rtol=0)
    assert_close(actions.std(0), torch.full((2,), 0.1), atol=0.02, rtol=0)


def test_the_entropy_becomes_minus_the_number_of_components_by_default():
    made = trainer(hidden=(32,), batch_size=64, optimizer={"use": "adam", "lr": 5e-3}, learning_starts=200)

    found = torch.stack([step["entropy"] for step in take(made, 2400)[-400:]])

    assert found.mean().item() == pytest.approx(-2.0, abs=0.15)


def test_the_first_actions_are_uniformly_random_and_later_ones_those_of_the_policy():
    made = trainer(learning_starts=2000, optimizer={"use": "sgd", "lr": 1e-12})
    with torch.no_grad():
        made.model.head.params.weight.zero_()
        made.model.head.params.bias.copy_(torch.tensor([1.0, -1.0, -20.0, -20.0]))

    take(made, 1)
    first = torch.from_numpy(made._replay._actions[:4000:2])  # an episode of one timestep has two frames
    later = made._actions(torch.zeros(3, 1).numpy())

    assert first.abs().max() <= 1
    assert_close(first.mean(0), torch.zeros(2), atol=0.05, rtol=0)
    assert_close(first.std(0), torch.full((2,), 3**-0.5), atol=0.02, rtol=0)
    assert_close(torch.from_numpy(later), torch.tensor([[1.0, -1.0]]).tanh().expand(3, 2))


def test_a_step_has_as_many_updates_as_gradient_steps_says_and_their_means():
    made, seen = trainer(gradient_steps=3), []
    update = made._learning.update
    made._learning.update = lambda batch: seen.append(update(batch)) or seen[-1]

    (step,) = take(made, 1)

    assert len(seen) == 3
    assert_close(step["critic_loss"], torch.stack([each["critic_loss"] for each in seen]).mean())
    assert {"critic_loss", "policy_loss", "entropy", "entropy_coef", "return", "length", "episodes"} == set(step)


def test_the_budget_counts_timesteps_of_all_environments():
    made = trainer(timesteps=50, num_envs=2, train_every=3)

    take(made, made.total_steps)

    assert made.total_steps == 1 + (50 - 20) // 6
    assert made.log_values() == {"lr": 3e-4, "timesteps": 50.0}


def test_a_step_does_not_use_the_global_random_generator():
    torch.manual_seed(5)
    made = trainer()
    before = torch.get_rng_state()

    take(made, 3)

    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replay_size": 2, "num_envs": 2}, "replay_size = 2: expected more than num_envs = 2, since the end of an"),
        ({"batch_size": 200, "replay_size": 100}, "batch_size = 200: expected at most replay_size = 100"),
        ({"target_entropy": 1.4}, "target_entropy = 1.4: expected less than 1.386, the entropy of uniformly random"),
        ({"target_entropy": float("nan")}, "target_entropy = nan: expected less than 1.386"),
        ({"target_entropy": float("-inf")}, "target_entropy = -inf: expected less than 1.386"),
        ({"entropy_coef": float("inf")}, "entropy_coef = inf: expected a finite number"),
        ({"timesteps": 19}, "timesteps = 19: the first step takes 20 (learning_starts = 20, num_envs = 1"),
    ],
)
def test_options_that_cannot_be_obeyed_are_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        trainer(**options)


def test_another_model_and_other_data_are_refused():
    message = r"rl\.sac needs a policy of bounded .* the model ActorCritic is none; take rl\.soft_actor_critic"
    with pytest.raises(InputError, match=message):
        SAC(ActorCritic((1,), 0, (2,)), aim(), CPU, 3)
    with pytest.raises(InputError, match=r"rl\.sac needs environments, .*; the data is object"):
        SAC(ActorCritic((1,), 0, (2,)), object(), CPU, 3)


def test_the_bounds_of_actions_are_a_fact():
    assert aim().facts["action_bounds"] == ((-2.0, 6.0), (0.0, 1.0))
    assert corridor().facts["action_bounds"] == ()
    assert environment(id="Pendulum-v1").facts["action_bounds"] == ((-2.0, 2.0),)
    assert environment(id="Pendulum-v1", wrappers=["clip_action"]).facts["action_bounds"] == ()
