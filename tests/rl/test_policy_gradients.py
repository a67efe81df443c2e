"""REINFORCE, A2C and PPO: their gradients against exact ones, their budgets, resuming, what they refuse."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe.testing import check_resume
from dlpipe_rl.a2c import a2c
from dlpipe_rl.action_heads import Categorical
from dlpipe_rl.actor_critic import ActorCritic
from dlpipe_rl.gymnasium_id import environment
from dlpipe_rl.on_policy import RolloutBatch
from dlpipe_rl.policy_gradient import PolicyGradient, PolicyLoss, normalized
from dlpipe_rl.policy_network import PolicyNetwork
from dlpipe_rl.ppo import ClippedUpdate, clipped_loss, ppo
from dlpipe_rl.q_network import QNetwork
from dlpipe_rl.reinforce import reinforce
from dlpipe_rl.soft_actor_critic import SoftActorCritic

from .conftest import CPU, corridor

pytestmark = pytest.mark.usefixtures("without_report")

#: What the two arms of a bandit bring, and how probable each is taken.
ARMS, LOGITS = torch.tensor([1.0, 4.0]), torch.tensor([0.3, -0.2])


class Bandit(nn.Module):
    """A policy over two arms that looks at nothing; with a value of its own where asked for."""

    def __init__(self, value=None):
        super().__init__()
        self.logits = nn.Parameter(LOGITS.clone())
        self.head = Categorical(1, 2)
        self.expected = value

    def forward(self, obs):
        logits = self.logits.expand(len(obs), 2)
        return logits if self.expected is None else (logits, torch.full((len(obs),), self.expected))


def exact_gradient():
    """Return the gradient of the expected reward in the logits."""
    logits = LOGITS.clone().requires_grad_()
    (logits.softmax(0) * ARMS).sum().backward()
    return logits.grad


def estimates(baseline, pulls=1, count=4000):
    """Return (count, 2) estimates of that gradient, of `pulls` pulls each."""
    random = torch.Generator().manual_seed(0)
    model = Bandit()
    learning = PolicyGradient(
        PolicyLoss(model, torch.optim.SGD(model.parameters(), lr=1.0), CPU, 0, 0, None), normalize_advantages=False
    )
    found = []
    for _ in range(count):
        with torch.no_grad():
            model.logits.copy_(LOGITS)
        actions = LOGITS.softmax(0).multinomial(pulls, replacement=True, generator=random)
        learning(
            RolloutBatch(torch.zeros(pulls, 1), actions, torch.zeros(pulls), ARMS[actions] - baseline, ARMS[actions]),
            random,
        )
        found.append(model.logits.detach() - LOGITS)  # a step of size 1 along the gradient of the reward
    return torch.stack(found)


def test_the_gradient_is_unbiased_with_and_without_a_baseline():
    value = float((LOGITS.softmax(0) * ARMS).sum())
    plain, with_baseline = estimates(0.0), estimates(value)

    for found in (plain, with_baseline):
        error = found.std(0) / len(found) ** 0.5
        assert ((found.mean(0) - exact_gradient()).abs() < 4 * error).all()


def test_a_baseline_reduces_the_variance_of_the_gradient():
    value = float((LOGITS.softmax(0) * ARMS).sum())

    assert estimates(value).var(0).sum() < 0.5 * estimates(0.0).var(0).sum()


def test_the_terms_of_the_loss_are_weighted():
    model = Bandit(value=1.0)
    loss = PolicyLoss(model, torch.optim.SGD(model.parameters(), lr=0.1), CPU, 0.5, 0.2, None)
    actions = torch.tensor([0, 1])
    batch = RolloutBatch(
        torch.zeros(2, 1), actions, torch.zeros(2), torch.tensor([2.0, -1.0]), torch.tensor([3.0, 1.0])
    )

    metrics = PolicyGradient(loss, normalize_advantages=False)(batch, torch.Generator())

    logs = LOGITS.log_softmax(0)
    entropy = -(logs.exp() * logs).sum()
    policy = -(2 * logs[0] - logs[1]) / 2
    assert_close(metrics["entropy"], entropy)
    assert_close(metrics["value_loss"], torch.tensor(2.0))
    assert_close(metrics["loss"], policy + 0.5 * 2 - 0.2 * entropy)


def test_advantages_can_be_normalized():
    numbers = normalized(torch.tensor([1.0, 3.0, 8.0]))

    assert_close(numbers.mean(), torch.tensor(0.0))
    assert_close(numbers.std(correction=0), torch.tensor(1.0))
    assert not normalized(torch.tensor([5.0])).any()


def test_ratios_outside_the_clip_range_get_no_gradient():
    ratios = torch.tensor([0.5, 0.7, 1.1, 1.5, 1.5, 0.5], requires_grad=True)
    advantages = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])

    loss = clipped_loss(ratios, advantages, 0.2)
    loss.backward()

    # Worse actions that are rarer already, and better ones that are more frequent already, are left alone.
    assert_close(loss, -torch.tensor([0.5, -0.8, 1.1, 1.2, -1.5, -0.8]).mean())
    assert (ratios.grad != 0).tolist() == [True, False, True, False, True, False]


def test_ppos_first_update_is_the_plain_gradient_of_normalized_advantages():
    actions, rewards = torch.tensor([0, 1, 1]), torch.tensor([1.0, 4.0, 2.0])
    found = []
    for kind in (
        lambda loss: PolicyGradient(loss, normalize_advantages=True),
        lambda loss: ClippedUpdate(loss, update_epochs=1, batch_size=9, clip_range=0.2),
    ):
        model = Bandit(value=0.0)
        loss = PolicyLoss(model, torch.optim.SGD(model.parameters(), lr=0.1), CPU, 0.5, 0.0, None)
        old = LOGITS.log_softmax(0)[actions]
        kind(loss)(RolloutBatch(torch.zeros(3, 1), actions, old, rewards, rewards), torch.Generator().manual_seed(0))
        found.append(model.logits.detach())

    assert_close(found[0], found[1])


def test_every_transition_is_used_once_per_epoch():
    used = []

    class Watching(PolicyLoss):
        def evaluate_actions(self, batch):
            used.append(batch.returns)
            return super().evaluate_actions(batch)

    model = Bandit(value=0.0)
    loss = Watching(model, torch.optim.SGD(model.parameters(), lr=0.1), CPU, 0.5, 0.0, None)
    numbers = torch.arange(7.0)
    batch = RolloutBatch(torch.zeros(7, 1), torch.zeros(7, dtype=torch.int64), torch.zeros(7), numbers, numbers)

    ClippedUpdate(loss, update_epochs=2, batch_size=3, clip_range=0.2)(batch, torch.Generator().manual_seed(0))

    assert [len(part) for part in used] == [3, 3, 1] * 2
    for half in (used[:3], used[3:]):
        assert torch.cat(half).sort().values.equal(numbers)
    assert not used[0].equal(used[3])


def trained(make, steps, model=None, data=None, **options):
    torch.manual_seed(0)
    data = data or corridor(length=3, cut=12)
    facts = data.facts
    model = model or ActorCritic(facts["obs_shape"], facts["num_actions"], facts["action_shape"], hidden=(16,))
    made = make(model, data, CPU, 3, **options)
    taking = made.steps()
    return made, [next(taking) for _ in range(steps)]


@pytest.mark.parametrize(
    ("make", "steps", "options"),
    [
        (reinforce, 60, {"optimizer": {"use": "adam", "lr": 0.02}}),
        (a2c, 300, {"optimizer": {"use": "adam", "lr": 0.02}}),
        (ppo, 20, {"rollout_steps": 16, "batch_size": 32, "optimizer": {"use": "adam", "lr": 0.02}}),
    ],
    ids=["reinforce", "a2c", "ppo"],
)
def test_each_trainer_learns_to_wait_before_the_end_of_the_corridor(make, steps, options):
    # Nine timesteps at place 2 bring 18 before the episode is truncated; going on at once brings 6 in total.
    made, metrics = trained(make, steps, gamma=0.95, **options)

    logits, _ = made.model(torch.tensor([[0.0], [1.0], [2.0]]))
    assert logits.argmax(1).tolist() == [1, 1, 0]
    assert torch.stack([numbers["return"] for numbers in metrics[-5:] if "return" in numbers]).mean() > 14


def test_continuous_actions_are_learned_too():
    made, metrics = trained(ppo, 3, data=environment(id="Pendulum-v1"), rollout_steps=20, batch_size=40)

    assert all(numbers["loss"].isfinite() for numbers in metrics)
    assert made.model.predict(made.model(torch.zeros(2, 3))).shape == (2, 1)


def test_the_budget_counts_timesteps_of_all_environments():
    made, _ = trained(a2c, 7, timesteps=112, num_envs=4, rollout_steps=4)

    assert made.total_steps == 7
    assert made.log_values()["timesteps"] == 112


def test_a_minibatch_larger_than_a_rollout_is_refused():
    message = (
        "batch_size = 9: expected at most the 8 transitions of a rollout (num_envs = 2, rollout_steps = 4); "
        "a larger one has no effect"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        trained(ppo, 0, num_envs=2, rollout_steps=4, batch_size=9)


@pytest.mark.parametrize(("make", "options"), [(a2c, {}), (ppo, {"batch_size": 16})])
@pytest.mark.parametrize(
    ("timesteps", "message"),
    [
        (10, "the first step takes 16 (num_envs = 4, rollout_steps = 4); expected at least 16"),
        (100, "a step takes 16 (num_envs = 4, rollout_steps = 4), so 100 cannot be met; expected 96 or 112"),
    ],
)
def test_a_budget_that_is_no_number_of_rollouts_is_refused(make, options, timesteps, message):
    with pytest.raises(InputError, match=re.escape(f"timesteps = {timesteps}: {message}")):
        trained(make, 0, timesteps=timesteps, num_envs=4, rollout_steps=4, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (
            "ppo_cartpole",
            [
                "trainer.timesteps=1200",
                "trainer.num_envs=3",
                "trainer.rollout_steps=40",
                "trainer.update_epochs=2",
                "trainer.batch_size=120",
            ],
        ),
        ("reinforce_cartpole", ["trainer.steps=9", "trainer.episodes=2"]),
        (
            "a2c_cartpole",
            ["trainer.timesteps=200", "trainer.num_envs=2", "trainer.rollout_steps=5", "trainer.log_every=1"],
        ),
    ],
    ids=["ppo", "reinforce", "a2c"],
)
def test_a_stopped_and_resumed_run_ends_as_an_uninterrupted_one(root, tmp_path, name, options):
    sizes = ["evaluators.play.episodes=3", "trainer.evaluate_every=4", "model.hidden=[5]"]

    check_resume(root / "pipelines" / f"{name}.toml", tmp_path, assignments=[*options, *sizes], stops=(1, 5))


def policy(data):
    return PolicyNetwork(data.facts["obs_shape"], 2, (), hidden=(5,))


def test_reinforce_works_without_a_baseline():
    data = corridor(length=3, cut=12)

    _, metrics = trained(reinforce, 2, policy(data), data, baseline="none")

    assert "value_loss" not in metrics[0]


def test_an_unsuitable_model_is_refused_with_an_alternative():
    data = corridor(length=3, cut=12)
    with pytest.raises(
        InputError, match=r'baseline = "value" does not fit the model PolicyNetwork; take rl.actor_critic'
    ):
        trained(reinforce, 0, policy(data), data)
    with pytest.raises(
        InputError, match=r'baseline = "none" does not fit the model ActorCritic; take rl.policy_network'
    ):
        trained(reinforce, 0, data=data, baseline="none")
    for make, name in ((ppo, "rl.ppo"), (a2c, "rl.a2c")):
        with pytest.raises(
            InputError, match=f"{name} needs a policy with a value function, and the model QNetwork is not"
        ):
            trained(make, 0, QNetwork((1,), 2), data)
    with pytest.raises(
        InputError, match=r"rl.reinforce needs action probabilities, and the model Linear has no action head"
    ):
        trained(reinforce, 0, nn.Linear(1, 2), data, baseline="none")


def test_values_are_moved_towards_the_returns():
    torch.manual_seed(0)
    model = ActorCritic((1,), 2, (), hidden=(5,))
    loss = PolicyLoss(model, torch.optim.Adam(model.parameters(), lr=0.05), CPU, 1.0, 0.0, 1.0)
    obs, returns = torch.rand(6, 1), torch.tensor([1.0, 2, 3, 4, 5, 6])
    batch = RolloutBatch(obs, torch.zeros(6, dtype=torch.int64), torch.zeros(6), torch.zeros(6), returns)
    before = F.mse_loss(model(obs)[1], returns)

    for _ in range(100):
        PolicyGradient(loss, normalize_advantages=False)(batch, torch.Generator())

    assert F.mse_loss(model(obs)[1], returns) < 0.5 * before


@pytest.mark.parametrize("make", [reinforce, a2c, ppo])
def test_a_policy_without_the_density_of_given_actions_is_refused(make):
    model = SoftActorCritic((3,), (1,), ((-2.0, 2.0),), hidden=(4,))
    with pytest.raises(InputError, match=r"rl\.\w+ needs .* the model SoftActorCritic .*take rl\.actor_critic"):
        make(model, environment(id="Pendulum-v1"), CPU, 3)
