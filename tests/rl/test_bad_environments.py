"""Environments that fail during a run: the message says where, and the checkpoint is kept."""

import json

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.checkpoint import Checkpoints
from dlpipe_rl.checked_env import FaultyEnvironmentError

MODULE = """
import random

import gymnasium as gym
import numpy as np

from dlpipe import DataSpec, hookimpl
from dlpipe_rl.environments import Environments

DLPIPE_API = (1, 0)
FACTS = ("obs_shape", "obs_dtype", "num_actions", "action_shape", "reward_range", "reward_threshold", "time_limit")
MADE = []


class Fragile(gym.Env):
    observation_space = gym.spaces.Box(0, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, fault):
        self.fault, self.moves = fault, 0
        MADE.append(self)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.started = self.moves
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.moves += 1
        if self.fault == "drifts":  # an episode can be repeated up to its timestep 110
            length = self.moves - self.started
            place = random.SystemRandom().random() if length > 110 else 0.5
            return np.full(2, place, np.float32), 1.0, length == 120, False, {}
        broken = self.moves > 40 and MADE.index(self) == 1  # the one that is trained on
        if broken and self.fault == "raises":
            raise RuntimeError("the arm is stuck")
        obs = np.full(2, np.nan if broken and self.fault == "nan" else 0.5, np.float32)
        return obs, 1.0, self.moves % 5 == 0, False, {}


def fragile(*, fault: str = "raises", own: bool = False):
    MADE.clear()
    environments = Environments("Fragile", lambda render_mode=None: Fragile(fault), fingerprint=fault)
    return OwnFragile(environments) if own else environments


class OwnFragile:
    splits = Environments.splits

    def __init__(self, environments):
        self.facts, self.fingerprint, self.make = environments.facts, environments.fingerprint, environments.make
        self.split, self.state, self.restore = environments.split, environments.state, environments.restore
        self.encode, self.present = environments.encode, environments.present


@hookimpl
def dlpipe_data():
    return [DataSpec("fragile", ":fragile", "breaks", facts=FACTS)]
"""

PIPELINE = """
name = "fragile"
plugins = ["./fragile_arm.py"]
[data]
use = "fragile_arm.fragile"
[model]
use = "rl.q_network"
hidden = [3]
[trainer]
use = "rl.dqn"
timesteps = 100
learning_starts = 10
batch_size = 4
evaluate_every = 5
log_every = 5
[evaluators.play]
use = "rl.returns"
episodes = 2
"""


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "raises",
            r"environment Fragile raised RuntimeError: the arm is stuck in step\(\), at timestep 1 of the episode",
        ),
        ("nan", r"environment Fragile returned an observation with nan at \[0\], outside its space \(0 to 1\)"),
    ],
)
def test_a_run_whose_environment_breaks_says_where_and_keeps_its_checkpoint(tmp_path, fault, message):
    (tmp_path / "fragile_arm.py").write_text(MODULE)
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    registry = load_plugins()
    changes = [f'data.fault="{fault}"']
    pipeline = load_pipeline(tmp_path / "pipeline.toml", registry, changes, allow_local_plugins=True)

    with pytest.raises(FaultyEnvironmentError, match=message):
        run(pipeline, registry, tmp_path / "runs")

    (folder,) = (path for path in (tmp_path / "runs" / "fragile").iterdir() if not path.is_symlink())
    assert Checkpoints(folder / "checkpoints").latest().name == "step-00000030"
    assert "dlpipe resume" in (folder / "status.json").read_text()


@pytest.mark.parametrize("own", [False, True])
def test_an_environment_that_turns_out_not_to_be_repeatable_is_trained_with_a_caveat(tmp_path, own):
    (tmp_path / "fragile_arm.py").write_text(MODULE)
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    registry = load_plugins()
    changes = ['data.fault="drifts"', f"data.own={str(own).lower()}"]
    changes += ["trainer.learning_starts=115", "trainer.timesteps=130"]
    pipeline = load_pipeline(tmp_path / "pipeline.toml", registry, changes, allow_local_plugins=True)

    folder = run(pipeline, registry, tmp_path / "runs", rehearsal=True)

    (caveat,) = json.loads((folder.path / "provenance.json").read_text())["caveats"]["[trainer]"]
    name = "OwnFragile" if own else "Fragile"
    assert caveat.startswith(f"environment {name} is not repeatable: two episodes with the same seed")
    assert "Fragile is not repeatable: replayed with the same seed" in (folder.path / "log.txt").read_text()


def test_a_replay_larger_than_memory_leaves_no_run_next_slots(root, tmp_path):
    registry = load_plugins()
    pipeline = load_pipeline(root / "pipelines" / "dqn_cartpole.toml", registry, ["trainer.replay_size=9000000000000"])

    with pytest.raises(InputError, match=r"lower replay_size = 9,000,000,000,000"):
        run(pipeline, registry, tmp_path)

    assert not list(tmp_path.glob("*/2*"))


def test_an_unknown_id_is_reported_before_the_run_starts(root, tmp_path):
    registry = load_plugins()
    pipeline = load_pipeline(root / "pipelines" / "dqn_cartpole.toml", registry, ["data.id=CartPoole-v1"])

    with pytest.raises(
        InputError, match=r'id = "CartPoole-v1": Gymnasium has no such environment. Did you mean "CartPole-v1"'
    ):
        run(pipeline, registry, tmp_path)
