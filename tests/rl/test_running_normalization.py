import copy
import re

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe.testing import check_resume
from dlpipe.training.freezing import freeze_parts
from dlpipe_rl.actor_critic import ActorCritic
from dlpipe_rl.environments import Environments
from dlpipe_rl.policy_network import PolicyNetwork
from dlpipe_rl.ppo import ppo
from dlpipe_rl.replay_buffer import Transitions
from dlpipe_rl.running_normalization import RunningNormalization
from dlpipe_rl.sac import SAC
from dlpipe_rl.soft_actor_critic import SoftActorCritic

from .conftest import CPU, Aim, corridor

pytestmark = pytest.mark.usefixtures("without_report")


def observations(count, seed=0):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) * torch.tensor([0.01, 1, 300]) + 5


def test_batches_of_any_size_give_the_mean_and_deviation_of_all():
    seen, scale = observations(5000), RunningNormalization((3,))

    for part in seen.split([1, 1, 7, 991, 4000]):
        scale.update(part)

    assert scale.count == 5000
    assert_close(scale.mean, seen.mean(0), rtol=1e-4, atol=1e-4)
    assert_close(scale.variance, seen.var(0, correction=0), rtol=1e-3, atol=0)
    scaled = scale(seen)
    assert_close(scaled.mean(0), torch.zeros(3), rtol=0, atol=1e-3)
    assert_close(scaled.std(0), torch.ones(3), rtol=0, atol=1e-3)


def test_rare_values_are_limited_and_a_constant_becomes_zero():
    scale = RunningNormalization((2,))
    scale.update(torch.tensor([[0.0, 7.0], [2.0, 7.0]]))

    assert scale(torch.tensor([[1.0, 7.0], [1e6, 7.0], [-1e6, 7.0]])).tolist() == [[0, 0], [10, 0], [-10, 0]]


def test_before_the_first_update_values_are_kept():
    obs = torch.tensor([[0.5, -3.0]])

    assert_close(RunningNormalization((2,))(obs), obs)


def test_bytes_are_scaled_first():
    scale = RunningNormalization((2,))

    scale.update(torch.tensor([[0, 255]], dtype=torch.uint8))

    assert scale.mean.tolist() == [0, 1]


def agents():
    """Return a trainer of each kind in environments whose observations are known."""
    torch.manual_seed(0)
    yield ppo(
        ActorCritic((1,), 2, (), normalize_obs=True), corridor(cut=9), CPU, 3, num_envs=2, rollout_steps=5, batch_size=5
    )
    data = Environments("Aim", Aim, fingerprint="aim")
    model = SoftActorCritic((1,), (2,), data.facts["action_bounds"], hidden=(8,), normalize_obs=True)
    yield SAC(model, data, CPU, 3, learning_starts=10, batch_size=5, replay_size=100)


@pytest.mark.parametrize("kind", [0, 1], ids=["ppo", "sac"])
def test_trainers_count_each_observation_once(kind):
    made = list(agents())[kind]

    steps = made.steps()
    for _ in range(3):
        next(steps)

    assert made.model.normalize.count == made.log_values()["timesteps"]


def test_the_scale_does_not_change_between_acting_and_learning():
    made = next(agents())
    seen = []
    update = made._update
    made._update = lambda batch, random: (
        seen.append(made.model.head.log_prob(made.model(batch.obs)[0], batch.actions) - batch.log_probs)
        or update(batch, random)
    )

    steps = made.steps()
    for _ in range(3):
        next(steps)

    assert made.model.normalize.variance.item() != 1
    for difference in seen:
        assert_close(difference, torch.zeros(10), rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [ActorCritic, PolicyNetwork])
def test_a_model_gets_scaled_observations(make):
    torch.manual_seed(0)
    scaling = make((3,), 2, (), normalize_obs=True)
    plain = copy.deepcopy(scaling)
    plain.normalize = torch.nn.Identity()
    scaling.normalize.update(observations(50))

    obs = observations(4, seed=1)

    assert_close(scaling(obs), plain(scaling.normalize(obs)))


def test_all_networks_of_soft_actor_critic_get_scaled_observations():
    data, seen = Environments("Aim", Aim, fingerprint="aim"), []
    model = SoftActorCritic((1,), (2,), data.facts["action_bounds"], hidden=(8,), normalize_obs=True)
    made = SAC(model, data, CPU, 3, learning_starts=10, batch_size=5, replay_size=100)
    made._timestep = 10  # now the policy acts
    model.normalize.update(torch.tensor([[2.0], [4.0]]))
    for part in (model.policy, model.critics, made._learning._target.module):
        part.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten().tolist()))

    made._learning.update(
        Transitions(
            np.arange(2),
            torch.tensor([[1.0], [2.0]]),
            torch.zeros(2, 2),
            torch.zeros(2),
            torch.ones(2),
            torch.tensor([[3.0], [6.0]]),
        )
    )
    model(torch.tensor([[5.0]]))
    made._actions(np.array([[8.0]], np.float32))

    next_obs, obs = [0.0, 3.0], [-2.0, -1.0]
    assert seen == [pytest.approx(each) for each in (next_obs, next_obs, obs, obs, obs, [2.0], [2.0], [5.0])]


def test_images_are_refused():
    message = "normalize_obs = true: the observations are images (shape (4, 84, 84)), whose bytes are scaled"
    with pytest.raises(InputError, match=re.escape(message)):
        ActorCritic((4, 84, 84), 2, (), normalize_obs=True)


@pytest.mark.parametrize(
    ("pipeline", "changes"),
    [
        ("ppo_cartpole", ["trainer.timesteps=2560", "trainer.evaluate_every=4", "trainer.log_every=1"]),
        (
            "sac_pendulum",
            [
                "trainer.timesteps=120",
                "trainer.learning_starts=20",
                "trainer.batch_size=5",
                "trainer.evaluate_every=50",
                "model.hidden=[7]",
            ],
        ),
    ],
)
def test_a_resumed_run_keeps_the_scale(root, tmp_path, pipeline, changes):
    check_resume(
        root / "pipelines" / f"{pipeline}.toml",
        tmp_path,
        assignments=["model.normalize_obs=true", "evaluators.play.episodes=3", *changes],
        stops=(3,),
    )


@pytest.mark.parametrize("kind", [0, 1], ids=["ppo", "sac"])
def test_a_frozen_scale_stays(kind):
    made = list(agents())[kind]
    freeze_parts(made.model, ["normalize"])

    steps = made.steps()
    for _ in range(3):
        next(steps)

    assert made.model.normalize.count == 0
