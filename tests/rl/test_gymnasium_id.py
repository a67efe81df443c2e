import gymnasium as gym
import numpy as np
import pytest

from dlpipe.errors import InputError
from dlpipe_rl.gymnasium_id import WRAPPERS, environment


def facts(**options):
    return environment(**options).facts


def test_facts_are_those_of_the_environment():
    found = facts()

    assert found["obs_shape"] == (4,)
    assert found["obs_dtype"] == "float32"
    assert found["num_actions"] == 2
    assert found["reward_threshold"] == 475
    assert found["time_limit"] == 500


@pytest.mark.parametrize(
    ("id", "shape"),
    [("FrozenLake-v1", (16,)), ("Blackjack-v1", (45,)), ("Pendulum-v1", (3,)), ("MountainCar-v0", (2,))],
)
def test_every_observation_space_becomes_a_box(id, shape):
    assert facts(id=id)["obs_shape"] == shape
    data = environment(id=id)
    env = data.single_env(3)
    assert env.reset().shape == (1, *shape)
    assert data.caveats() == []


def test_continuous_actions_have_a_shape_and_num_actions_0():
    found = facts(id="Pendulum-v1")

    assert (found["num_actions"], found["action_shape"]) == (0, (1,))


def test_episodes_can_be_truncated_earlier_and_frames_stacked():
    found = facts(max_episode_steps=7, frame_stack=3)

    assert (found["time_limit"], found["obs_shape"]) == (7, (12,))


def test_arguments_reach_the_environment():
    env = environment(arguments={"sutton_barto_reward": True}).make()

    assert env.unwrapped._sutton_barto_reward


def test_wrappers_are_applied_from_the_innermost():
    env = environment(
        id="Pendulum-v1",
        wrappers=[{"use": "clip_reward", "min_reward": -1, "max_reward": 0}, "time_aware_observation"],
    ).make()

    assert env.observation_space.shape == (4,)
    env.reset(seed=0)
    assert -1 <= env.step([1.0])[1] <= 0
    assert isinstance(env, gym.wrappers.TimeAwareObservation)


@pytest.mark.parametrize(
    ("id", "wrapper", "expected"),
    [
        (
            "Pendulum-v1",
            {"use": "rescale_observation", "min_obs": [-2, -1, 0], "max_obs": [2, 1.5, 1]},
            lambda env: env.observation_space == gym.spaces.Box(np.float32([-2, -1, 0]), np.float32([2, 1.5, 1])),
        ),
        (
            "Pendulum-v1",
            {"use": "rescale_action", "min_action": [-3], "max_action": [5]},
            lambda env: env.action_space == gym.spaces.Box(-3, 5, (1,)),
        ),
        (
            "CartPole-v1",
            {"use": "sticky_action", "repeat_action_probability": 0.25, "repeat_action_duration": [2, 3]},
            lambda env: env.repeat_action_duration_range == (2, 3),
        ),
        (
            "Blackjack-v1",
            {"use": "filter_observation", "filter_keys": [0, 2]},
            lambda env: env.observation_space.shape == (34,),
        ),
    ],
)
def test_wrappers_take_lists(id, wrapper, expected):
    assert expected(environment(id=id, wrappers=[wrapper]).make())


def test_every_wrapper_that_is_offered_is_one():
    assert all(issubclass(wrapper, gym.Wrapper) for wrapper in WRAPPERS.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "CartPol-v1"}, r'id = "CartPol-v1": Gymnasium has no such environment. Did you mean "CartPole-v1"'),
        ({"id": "CartPole-v9"}, r'id = "CartPole-v9": Gymnasium has no such environment. Did you mean'),
        (
            {"id": "mine:Env-v0"},
            r"cannot import a module.*plugins = \[\"./mine.py\"\], set id = \"Env-v0\".*--allow-local",
        ),
        ({"wrappers": ["clip_rewards"]}, r"'clip_rewards' is not one of .* Did you mean \"clip_reward\""),
        ({"wrappers": ["normalize_observation"]}, r"state beyond an episode are not supported"),
    ],
)
def test_a_mistake_is_reported_with_a_suggestion(options, message):
    with pytest.raises(InputError, match=message):
        environment(**options)


def test_an_environment_that_cannot_be_created_is_reported_with_the_reason():
    with pytest.raises(
        InputError, match=r'id = "CartPole-v1": the environment could not be created: TypeError: .*speed'
    ):
        environment(arguments={"speed": 3}).make()


def test_multi_discrete_actions_are_refused():
    gym.register("Many-v0", lambda render_mode=None: Many())

    with pytest.raises(
        InputError, match=r"Many-v0 has the action space MultiDiscrete\(\[2 3\]\); expected Discrete or Box"
    ):
        _ = environment(id="Many-v0").facts


class Many(gym.Env):
    observation_space = gym.spaces.Box(0, 1, (2,))
    action_space = gym.spaces.MultiDiscrete([2, 3])


def test_the_fingerprint_contains_everything_that_affects_the_environment():
    assert environment().fingerprint() == f"CartPole-v1(), 1 frames, gymnasium {gym.__version__}"
    assert "max_episode_steps=9" in environment(max_episode_steps=9).fingerprint()
    assert "'use': 'clip_reward'" in environment(wrappers=[{"use": "clip_reward", "min_reward": 0}]).fingerprint()


def test_an_agent_takes_no_items():
    with pytest.raises(InputError, match="'hello': an agent acts in CartPole-v1 and takes no items"):
        environment().encode("hello")


def test_wrapped_rewards_are_said_since_returns_are_measured_with_them():
    clipped = {"use": "clip_reward", "min_reward": 0.0, "max_reward": 0.5}

    (caveat,) = environment(wrappers=["time_aware_observation", clipped, "flatten_observation"]).caveats()

    assert caveat.startswith("environment CartPole-v1: ClipReward changes the rewards, and evaluations count")
    assert environment(wrappers=["time_aware_observation"]).caveats() == []
