"""The slow proofs: agents reach their scores, best checkpoint and last."""

import json

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.registry.loading import load_plugins

pytestmark = pytest.mark.slow


def scores(path, tmp_path, changes=()):
    """Return the metrics of the best checkpoint on the test split, and of the last one on the dev split."""
    registry = load_plugins()
    folder = run(load_pipeline(path, registry, changes), registry, tmp_path)
    records = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    *_, last, best = [record for record in records if any("return_mean" in name for name in record)]
    return best, last


@pytest.mark.parametrize("name", ["reinforce_cartpole", "a2c_cartpole", "ppo_cartpole", "dqn_cartpole"])
def test_cartpole_is_solved(root, tmp_path, name):
    # Five seeds each: docs/rl.
    best, last = scores(root / "pipelines" / f"{name}.toml", tmp_path)

    assert best["test/play/return_mean"] >= 475
    assert last["dev/play/return_mean"] >= 475
    assert best["test/play/random_return_mean"] < 50


def test_catch_is_solved_from_pixels(root, tmp_path):
    best, last = scores(root / "pipelines" / "dqn_catch.toml", tmp_path)

    assert best["test/play/success"] >= 0.99
    assert last["dev/play/success"] >= 0.99
    assert best["test/play/random_return_mean"] < 0


def test_a_pendulum_is_swung_up_and_balanced(root, tmp_path):
    # In half of the timesteps; five seeds of the whole run: docs/rl/sac.md.
    best, _ = scores(root / "pipelines" / "sac_pendulum.toml", tmp_path, ["trainer.timesteps=5000"])

    assert best["test/play/return_mean"] >= -200
    assert best["test/play/random_return_mean"] < -1000
