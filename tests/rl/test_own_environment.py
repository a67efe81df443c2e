"""Environments of your own: those of docs/rl/own_environment.md, under rl.returns, and of docs/rl/environments.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.testing import check_resume
from dlpipe_rl.environments import require_environments

DOCS = Path(__file__).resolve().parents[2] / "docs" / "rl"


def write_files(page: str, folder: Path) -> None:
    """Write the files that a page of the documentation shows."""
    text = (DOCS / page).read_text()
    for name, content in re.findall(r"^```(?:python|toml)\n# (\S+\.(?:py|toml))\n(.*?)^```", text, re.M | re.S):
        (folder / name).write_text(content)


@pytest.fixture
def project(tmp_path):
    write_files("own_environment.md", tmp_path)
    return tmp_path


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_file_that_registers_an_environment_is_enough(tmp_path, monkeypatch, num_workers):
    write_files("environments.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    changes = ["trainer.timesteps=512", "trainer.rollout_steps=64", "evaluators.play.episodes=2"]
    changes.append(f"data.num_workers={num_workers}")
    registry = load_plugins()

    folder = run(load_pipeline("boat.toml", registry, changes, allow_local_plugins=True), registry, tmp_path / "runs")

    found = MetricsLog(folder.path / "metrics.jsonl").records()[-1]
    assert 0 < found["test/play/return_mean"] <= 60


def test_the_agent_of_the_page_leaves_the_corridor_and_can_be_watched(project):
    def dlpipe(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "dlpipe", *arguments, "--allow-local-plugins"]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    dlpipe("run", "corridor.toml")

    found = MetricsLog(project / "runs/corridor/latest/metrics.jsonl").records()[-1]
    assert -9 < found["test/play/return_mean"] < 0
    assert found["test/play/random_return_mean"] < found["test/play/return_mean"] - 5


def test_the_trainer_of_the_page_resumes_exactly(project):
    check_resume(
        project / "corridor.toml",
        project / "runs",
        assignments=["trainer.generations=4", "trainer.evaluate_every=2"],
        stops=(1, 3),
        allow_local_plugins=True,
    )


@pytest.mark.parametrize(
    "trainer",
    [
        "{use='rl.dqn', steps=60, learning_starts=20, batch_size=8}",
        "{use='rl.ppo', steps=2, rollout_steps=16, batch_size=64}",
    ],
)
def test_trainers_of_the_rl_plugin_take_the_environment_of_another(project, trainer):
    path = project / "corridor.toml"
    model = "rl.q_network" if "dqn" in trainer else "rl.actor_critic"
    facts = '"obs_shape": (2,), "obs_dtype": "float32", "action_shape": (), "reward_range": None, "time_limit": None,'
    plugin = (project / "corridor.py").read_text()
    (project / "corridor.py").write_text(
        plugin.replace('"obs_shape": (2,),', facts).replace(
            'facts = ("obs_shape",', 'facts = ("obs_shape", "obs_dtype", "action_shape", "reward_range", "time_limit",'
        )
    )

    check_resume(
        path,
        project / "runs",
        assignments=[f"model={{use='{model}', hidden=[8]}}", f"trainer={trainer}", "evaluators.play.episodes=2"],
        stops=(1,),
        allow_local_plugins=True,
    )


def test_data_that_makes_no_environment_is_refused():
    with pytest.raises(
        InputError, match=r"rl.returns needs environments, such as rl.environment, or data of yours with"
    ):
        require_environments(object(), "rl.returns")
