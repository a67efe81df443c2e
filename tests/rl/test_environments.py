import numpy as np
import pytest
from gymnasium import spaces

from dlpipe.errors import InputError
from dlpipe_rl.actor_critic import ActorCritic
from dlpipe_rl.gymnasium_id import environment
from dlpipe_rl.ppo import ppo
from dlpipe_rl.returns import random_policy

from .conftest import CPU, Sampler, Shifted, corridor


def test_random_actions_are_counted_from_0_whatever_the_space_says():
    data = corridor(Shifted)

    assert len(data.example_inputs("dev", 9)["obs"]) == 9
    assert data.caveats() == []
    assert set(random_policy(data)(np.zeros((20, 1)))[0].tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("wrappers", "bound"),
    [
        ([], 2),
        (["clip_action"], 2),
        ([{"use": "rescale_action", "min_action": -1, "max_action": 1}], 1),
        ([{"use": "rescale_action", "min_action": -1, "max_action": 1}, "clip_action"], 1),
    ],
)
def test_random_actions_are_uniform_within_their_bounds_under_any_wrapper(wrappers, bound):
    policy = random_policy(environment(id="Pendulum-v1", wrappers=wrappers))

    actions = policy(np.zeros((4000, 3)))[0] / bound

    assert np.histogram(actions, 4, (-1, 1))[0] == pytest.approx(1000, abs=120)  # 4.4 standard deviations


@pytest.mark.parametrize("shape", [(9, 8, 1), (8, 9, 2), (8, 9, 6), (12, 13, 9), (9, 3, 2)])
def test_images_are_transposed_if_their_last_axis_is_the_shortest(shape):
    env = Sampler(spaces.Box(0, 255, shape, np.uint8))
    data = corridor(lambda render_mode: env)

    assert data.facts["obs_shape"] == (shape[2], *shape[:2])
    obs, _ = data.make().reset(seed=3)
    assert np.array_equal(obs, np.moveaxis(env.reset(seed=3)[0], 2, 0))


@pytest.mark.parametrize("shape", [(1, 9, 8), (6, 8, 9), (3, 3, 3), (4, 9, 4), (9, 3, 4)])
def test_other_images_stay_as_they_are(shape):
    assert corridor(Sampler, obs=spaces.Box(0, 255, shape, np.uint8)).facts["obs_shape"] == shape


@pytest.mark.parametrize(
    ("obs", "actions"),
    [
        (None, spaces.Discrete(2, start=5)),
        (None, spaces.Box(-1, 3, (2, 3), np.int64)),
        (None, spaces.Box(-1, 1, ())),
        (None, spaces.Box(-1, 1, (2,), np.float64)),
        (spaces.Box(0, 1, (3,), np.bool_), None),
        (spaces.Box(0, 1, (9, 8), np.bool_), None),
        (spaces.Box(-1, 1, (4, 3)), None),
        (spaces.Box(0, 255, (4, 5, 3), np.uint8), None),
        (spaces.Box(-1, 1, (2, 3, 4, 5)), None),
    ],
    ids=str,
)
def test_an_agent_acts_in_every_space_of_numbers(obs, actions):
    data = corridor(Sampler, obs=obs, actions=actions)
    shape, num_actions, action_shape = (data.facts[name] for name in ("obs_shape", "num_actions", "action_shape"))
    trainer = ppo(ActorCritic(shape, num_actions, action_shape), data, CPU, 3, rollout_steps=7, batch_size=7)

    loss = next(trainer.steps())["loss"]
    trainer.load_state_dict(trainer.state_dict())

    assert loss.isfinite()
    assert data.caveats() == []


def test_data_of_others_whose_actions_are_several_numbers_is_refused_with_its_name():
    class Arm:
        def make(self, *, render_mode=None):
            return Sampler(actions=spaces.MultiDiscrete([2, 3]))

        def fingerprint(self):
            return "arm"

    with pytest.raises(
        InputError, match=r"Arm has the action space MultiDiscrete\(\[2 3\]\); expected Discrete or Box"
    ):
        ppo(ActorCritic((2,), 6, ()), Arm(), CPU, 3)


def test_observations_without_a_fixed_size_are_refused():
    with pytest.raises(
        InputError, match=r"Corridor has the observation space Sequence\(.*; expected one whose samples all"
    ):
        _ = corridor(Sampler, obs=spaces.Sequence(spaces.Discrete(3))).facts
