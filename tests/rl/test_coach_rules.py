from __future__ import annotations

import pytest

from dlpipe_rl.returns import Returns

pytestmark = pytest.mark.usefixtures("without_report", "without_pictures")

LAKE = """
name = "patient"
threads = 1
device = "cpu"
[data]
use = "rl.environment"
id = "FrozenLake-v1"
arguments = { is_slippery = false }
[model]
use = "rl.q_network"
hidden = [32, 32]
[trainer]
use = "rl.dqn"
timesteps = 2000
learning_starts = 200
train_every = 2
batch_size = 32
gamma = 0.9
target_every = 1
tau = 0.05
epsilon_timesteps = 1000
optimizer = { use = "adam", lr = 3e-3 }
log_every = 50
evaluate_every = 150
[evaluators.play]
use = "rl.returns"
episodes = 5
"""
POLE = """
name = "patient"
threads = 1
device = "cpu"
[data]
use = "rl.environment"
id = "CartPole-v1"
[model]
use = "rl.actor_critic"
[trainer]
use = "rl.ppo"
timesteps = 2560
rollout_steps = 32
update_epochs = 10
gamma = 0.98
gae_lambda = 0.8
optimizer = { use = "adam", lr = 3e-3 }
log_every = 1
evaluate_every = 8
[evaluators.play]
use = "rl.returns"
episodes = 5
"""
EXPLORES = [
    "trainer.epsilon_schedule=linear",
    "trainer.epsilon_start=1.0",
    "trainer.epsilon_end=0.05",
    "trainer.epsilon_timesteps=200",
]
#: What is done to a pipeline, and the rules of this plugin that must find it.
SICK = {
    "no exploration": (LAKE, ["trainer.epsilon_start=0", "trainer.epsilon_end=0"], ["rl.little-exploration"]),
    "nothing but exploration": (
        LAKE,
        ["data.id=FrozenLake8x8-v1", "trainer.epsilon_end=1.0"],
        ["rl.late-exploitation"],
    ),
    "no target network, and long steps": (
        LAKE.replace("FrozenLake-v1", "CartPole-v1").replace("arguments = { is_slippery = false }", ""),
        ["trainer.tau=1", "trainer.gamma=0.99", "trainer.optimizer.lr=0.3"],
        ["rl.exploding-values"],
    ),
    "a policy that is sure at once": (
        POLE,
        ["trainer.optimizer.lr=0.3"],
        ["rl.entropy-collapsed"],
    ),
    "the same of A2C": (
        POLE,
        ["trainer={use='rl.a2c',timesteps=2400,log_every=4,evaluate_every=30,optimizer={use='adam',lr=0.3}}"],
        ["rl.entropy-collapsed"],
    ),
}
SOUND = {
    "Q-learning": (LAKE, []),
    "PPO": (POLE, []),
}


@pytest.fixture
def without_pictures(monkeypatch):
    """Record no episodes: that takes longer than these trainings."""
    for name in ("sample", "write"):
        monkeypatch.setattr(Returns, name, lambda self, *arguments: [])


@pytest.mark.parametrize("name", SICK)
def test_a_training_with_a_fault_is_found_by_the_rules_for_it(name, patient):
    text, changes, rules = SICK[name]

    found = patient(text).trained(*changes)

    assert [each.rule for each in found if each.rule.startswith("rl.") and each.rule != "rl.forgotten"] == rules
    assert all(each.remedies for each in found)


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_a_sound_training(name, patient):
    text, changes = SOUND[name]

    found = patient(text).trained(*changes)

    assert [each.rule for each in found if each.rule != "rising"] == []


def values(finding):
    """Return what all remedies set."""
    return {path: value for remedy in finding.remedies for path, value in remedy.values.items()}


@pytest.fixture
def lake(patient):
    return patient(LAKE)


@pytest.fixture
def pole(patient):
    return patient(POLE)


def played(returns, chance=20.0, **metrics):
    """Return the metrics of evaluations on dev."""
    metrics = {"return_mean": returns, "random_return_mean": [chance] * len(returns), **metrics}
    return {f"dev/play/{name}": values for name, values in metrics.items()}


GOOD, BAD = played([20.0, 60.0, 100.0]), played([20.0, 18.0, 15.0])


@pytest.mark.parametrize(("value", "found"), [(1e9, True), (-1001.0, True), (999.0, False), (0.0, False)])
def test_values_that_are_many_times_any_return(lake, value, found):
    metrics = GOOD | played([20.0, 100.0, 50.0], value_mean=[1e9, 5.0, value])

    assert list(lake.asked(metrics)) == ["rl.exploding-values"] * found
    if found:
        (slow,) = lake.asked(metrics).values()
        assert "trainer.tau" not in values(slow)  # which is 0.05
        (exploded,) = lake.asked(metrics, "trainer.tau=1.0", "trainer.loss=mse").values()
        assert values(exploded) == {
            "trainer.optimizer.lr": 0.0003,
            "trainer.tau": 0.005,
            "trainer.target_every": 1,
            "trainer.loss": "huber",
            "trainer.max_grad_norm": 1.0,
        }
        assert exploded.evidence.endswith("at step 1,000, and no mean return was larger than 100")


def test_soft_values_have_not_exploded(lake):
    metrics = played([1.0, 1.0], 0.0, value_mean=[50.0, 60.0])

    assert list(lake.asked(metrics)) == ["rl.exploding-values"]
    assert lake.asked(metrics | {"train/entropy_coef": [0.2, 0.2]}) == {}


def test_values_of_an_environment_without_any_return_say_nothing(lake):
    assert lake.asked(played([0.0, 0.0], 0.0, value_mean=[0.1, 0.2])) == {}


def entropy(middle):
    return {"train/entropy": [0.69, 0.4, 0.3, 0.2, *6 * [middle]]}


def test_a_policy_that_is_sure_and_bad(pole):
    found = pole.asked(entropy(0.01) | BAD)

    assert list(found) == ["rl.entropy-collapsed"]
    assert values(found["rl.entropy-collapsed"]) == {"trainer.optimizer.lr": 0.0003, "trainer.entropy_coef": 0.01}
    assert found["rl.entropy-collapsed"].evidence == (
        "the entropy of its actions is 0.01 nats in the fifth tenth of the training; its return is 15, that of a "
        "random policy 20"
    )


def test_a_weight_of_the_entropy_that_is_learned_is_left_to_the_trainer(patient):
    table = POLE[POLE.index("[trainer]") : POLE.index("[evaluators")]
    text = POLE.replace(table, '[trainer]\nuse = "rl.sac"\ntimesteps = 2000\n').replace("CartPole-v1", "Pendulum-v1")

    found = patient(text.replace("rl.actor_critic", "rl.soft_actor_critic")).asked(entropy(0.01) | BAD)

    assert values(found["rl.entropy-collapsed"]) == {"trainer.optimizer.lr": 3e-05, "trainer.max_grad_norm": 1.0}


@pytest.mark.parametrize(
    "metrics",
    [
        entropy(0.06) | BAD,
        entropy(-0.5) | BAD,  # that of continuous actions
        {"train/entropy": [1.4, 1.1, 0.8, 0.4, 0.02, -0.3, -0.6, -0.9, -1.1, -1.2]} | BAD,
        entropy(0.01) | GOOD,
        {"train/entropy": [0.0] * 9} | BAD,
    ],
    ids=["unsure", "continuous", "passing through", "good", "few points"],
)
def test_a_policy_that_has_not_collapsed(pole, metrics):
    assert pole.asked(metrics) == {}


def test_an_agent_that_hardly_ever_succeeds_does_badly(pole):
    metrics = GOOD | {"dev/play/success": [0.0, 0.9, 0.4]}

    assert list(pole.asked(entropy(0.01) | metrics)) == ["rl.entropy-collapsed"]
    assert pole.asked(entropy(0.01) | metrics | {"dev/play/success": [0.0, 0.1, 0.5]}) == {}


def epsilon(first, last):
    return {"train/epsilon": [first, *[0.1] * 8, last], "train/timesteps": [200.0 * number for number in range(1, 11)]}


def test_exploration_without_a_number_of_timesteps_has_no_remedy(patient):
    lake, metrics = patient(LAKE.replace("\ntimesteps =", "\nsteps =")), epsilon(0.01, 0.01)
    del metrics["train/timesteps"]

    assert not lake.asked(metrics | BAD)["rl.little-exploration"].remedies


def test_an_agent_that_never_explored(lake):
    found = lake.asked(epsilon(0.01, 0.01) | BAD)

    assert list(found) == ["rl.little-exploration"]
    assert found["rl.little-exploration"].advice
    assert values(found["rl.little-exploration"]) == {
        "trainer.epsilon_schedule": "linear",
        "trainer.epsilon_start": 1.0,
        "trainer.epsilon_end": 0.05,
        "trainer.epsilon_timesteps": 200,
    }
    assert lake.asked(epsilon(0.02, 0.01) | BAD) == {}
    assert lake.asked(epsilon(0.01, 0.01) | GOOD) == {}
    assert lake.asked(epsilon(0.01, 0.01) | BAD, "model.noisy=true") == {}


def test_an_agent_that_explored_until_the_end(lake):
    assert list(lake.asked(epsilon(1.0, 0.31) | BAD)) == ["rl.late-exploitation"]
    assert lake.asked(epsilon(1.0, 0.3) | BAD) == {}
    assert lake.asked(epsilon(1.0, 0.9) | GOOD) == {}


def test_an_agent_whose_run_has_not_ended_may_explore(lake):
    half = epsilon(1.0, 0.9) | BAD | {"train/timesteps": [100.0 * number for number in range(1, 11)]}

    assert lake.asked(half) == {}
    assert lake.asked(half, "trainer.steps=5000") == {}
    assert list(lake.asked(half | epsilon(1.0, 0.9), "trainer.steps=1000")) == ["rl.late-exploitation"]


def test_an_agent_that_was_better_before(lake):
    returns = [20.0, 100.0, 60.0, 50.0, 40.0]
    forgotten = played(returns, return_iqm_low=[10.0, 90.0, 50.0, 40.0, 30.0])

    found = lake.asked(forgotten)

    assert list(found) == ["rl.forgotten"]
    assert found["rl.forgotten"].advice
    assert values(found["rl.forgotten"])["trainer.schedule"] == {
        "use": "linear",
        "start_factor": 1.0,
        "end_factor": 0.0,
    }
    assert found["rl.forgotten"].evidence == (
        "its return was 100 at step 400, and 50 in the last three evaluations; that of a random policy is 20"
    )


@pytest.mark.parametrize(
    ("returns", "low"),
    [
        ([20.0, 100.0, 90.0, 80.0, 70.0], 90.0),
        ([20.0, 100.0, 60.0, 50.0, 40.0], 45.0),  # the best evaluation had a few lucky episodes
        ([20.0, 100.0, 40.0, 50.0], 90.0),
    ],
    ids=["half of it", "luck", "few evaluations"],
)
def test_an_agent_whose_return_varies(lake, returns, low):
    assert lake.asked(played(returns, return_iqm_low=[low] * len(returns))) == {}
