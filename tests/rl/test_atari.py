import numpy as np
import pytest
from PIL import Image

pytest.importorskip(
    "ale_py", reason="ale-py is not installed; it is GPL and not part of dlpipe[all]: install dlpipe[atari]"
)

from dlpipe.errors import InputError
from dlpipe.testing import check_resume
from dlpipe_rl.atari import Atari, atari
from dlpipe_rl.recording import frames_per_second

pytestmark = pytest.mark.usefixtures("without_report")


def played(actions=40, seed=3, **options):
    """Return what is seen in a game, and its rewards, with random actions."""
    env = Atari(
        **{
            "game": "pong",
            "screen_size": 42,
            "frame_skip": 4,
            "repeat_action_probability": 0.25,
            "noop_max": 30,
            **options,
        }
    )
    random = np.random.default_rng(0)
    seen, rewards = [env.reset(seed=seed)[0]], []
    for _ in range(actions):
        obs, reward, *_ = env.step(random.integers(6))
        seen.append(obs)
        rewards.append(reward)
    return np.stack(seen), rewards


def test_facts_are_those_of_the_literature():
    facts = atari().facts

    assert facts["obs_shape"] == (4, 84, 84)
    assert facts["obs_dtype"] == "uint8"
    assert facts["num_actions"] == 6
    assert facts["time_limit"] == 27_000


@pytest.mark.parametrize(("frame_skip", "fps"), [(1, 60), (3, 20), (4, 15)])
def test_a_film_runs_at_the_speed_of_the_game(frame_skip, fps):
    assert frames_per_second(atari(frame_skip=frame_skip)) == fps


def test_a_game_depends_on_its_seed_only():
    assert np.array_equal(played()[0], played()[0])
    assert not np.array_equal(played()[0], played(seed=4)[0])
    assert atari(screen_size=42).caveats() == []


def test_seeds_affect_sticky_actions_and_noop_frames_only():
    plain = {"repeat_action_probability": 0.0, "noop_max": 0}

    assert np.array_equal(played(**plain)[0], played(seed=4, **plain)[0])
    assert not np.array_equal(played(**plain | {"repeat_action_probability": 0.5})[0], played(**plain)[0])


@pytest.mark.parametrize("frame_skip", [1, 2, 3])
def test_an_observation_is_the_maximum_of_the_last_two_frames(frame_skip):
    env, single = (Atari("pong", 210, skip, 0.0, 0) for skip in (frame_skip, 1))
    env.reset(seed=0)
    single.reset(seed=0)
    screens = [single._ale.getScreenGrayscale()]

    for _ in range(90 // frame_skip):  # the ball is served after 60 frames
        obs = env.step(2)[0]
        for _ in range(frame_skip):
            single.step(2)
            screens.append(single._ale.getScreenGrayscale())
        expected = Image.fromarray(np.maximum(*screens[-2:])).resize((210, 210), Image.Resampling.BOX)

        assert np.array_equal(obs[0], expected)


def test_rewards_are_clipped_in_training_only():
    data = atari(game="space_invaders", screen_size=42, noop_max=0)
    training, judging = data.training_envs(1, 0), data.single_env(10_000)
    random = np.random.default_rng(0)
    rewards = {"training": set(), "judging": set()}
    for name, player in (("training", training), ("judging", judging)):
        player.reset()
        for _ in range(150):
            rewards[name].add(player.step(random.integers(6, size=1)).rewards[0])

    assert rewards["training"] == {0, 1}
    assert max(rewards["judging"]) >= 5


def test_an_unknown_game_is_reported_with_a_suggestion():
    with pytest.raises(InputError, match='game = "pongg": ale-py has no such ROM. Did you mean "pong"'):
        atari(game="pongg")


@pytest.mark.parametrize("name", ["dqn_pong", pytest.param("ppo_pong", marks=pytest.mark.slow)])
def test_a_stopped_and_resumed_run_ends_as_an_uninterrupted_one(root, tmp_path, name):
    small = [
        "trainer.num_envs=2",
        "trainer.batch_size=4",
        "evaluators.play.episodes=1",
        "trainer.timesteps=1008",
        "trainer.steps=4",
        "model.hidden=[8]",
    ]
    dqn = ["trainer.learning_starts=20", "trainer.replay_size=60", "trainer.evaluate_every=100"]
    changes = dqn if name == "dqn_pong" else ["trainer.rollout_steps=8", "trainer.evaluate_every=100"]
    quick = ["data.num_workers=0", "data.screen_size=42", "evaluators.play.splits=['test']", 'device="cpu"', *small]

    check_resume(root / "pipelines" / f"{name}.toml", tmp_path, assignments=[*quick, *changes], stops=(2,))
