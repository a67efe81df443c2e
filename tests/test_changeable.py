"""What a trainer declares as changeable takes effect when a run continues with another value."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.config.tables import keys_of
from dlpipe.engine.execute import resume, run
from dlpipe.runs.folder import RunFolder
from dlpipe.testing import comparable_metrics

from .test_option_audit import BASES, CHANGES, COMPONENTS, REGISTRY, SAME_RESULT, files, other, own_parameters

pytestmark = pytest.mark.usefixtures("without_report")
__all__ = ["files"]  # the fixture

#: Where another value than in the audit of all options is needed to see an effect after the first steps.
OTHERS = {
    "core.supervised.warmup_steps": ["5"],
    "core.supervised.ema_decay": ["0.5", "trainer.ema_decay=0.9"],
    "generative.gan_trainer.ema_decay": ["0.5", "trainer.ema_decay=0.9"],
    "rl.dqn.epsilon_start": ["0.5", "trainer.epsilon_timesteps=500"],
    "rl.dqn.epsilon_timesteps": ["100", "trainer.epsilon_timesteps=500"],
    "rl.dqn.epsilon_schedule": ["'exponential'", "trainer.epsilon_timesteps=500"],
    "rl.dqn.optimizer": ["0.3"],
    "rl.dqn.loss": ["'mse'", "trainer.optimizer={use='adam', lr=0.3}"],
    "rl.dqn.max_grad_norm": ["0.01", "trainer.optimizer={use='sgd', lr=0.3}"],
    "core.supervised.num_workers": ["0"],
    "generative.gan_trainer.num_workers": ["0"],
}
#: No result depends on these.
WITHOUT_EFFECT = {*SAME_RESULT, "core.supervised.num_workers", "generative.gan_trainer.num_workers"}
TRAINERS = {name: each.spec for name, each in COMPONENTS.items() if each.spec.kind == "trainer"}
CASES = [(name, parameter) for name, spec in TRAINERS.items() for parameter in spec.changeable]


def last_step(folder: RunFolder) -> int:
    return max(record["step"] for record in comparable_metrics(folder.path))


def continued(folder: RunFolder, name: str, *assignments: str) -> RunFolder:
    """Return a copy of a run that has continued."""
    copy = RunFolder(Path(shutil.copytree(folder.path, folder.path.parent / name, symlinks=True)))
    resume(copy, REGISTRY, assignments)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameter"), CASES, ids=lambda value: str(value))
def test_a_changeable_parameter_takes_effect_when_a_run_continues(tmp_path, files, name, parameter):
    key = f"{name}.{parameter}"
    text, base = BASES[name]
    value, *needed = OTHERS.get(key, CHANGES.get(key, [None]))
    value = value or other(own_parameters(name)[parameter])
    path = f"trainer.{parameter}"
    if keys_of(TRAINERS[name])[parameter].choice == "optimizer":
        value, path, needed = "0.3", f"{path}.lr", []
    if parameter == "timesteps":
        value, needed = "120", ["trainer.timesteps=60", "trainer.steps=1000"]
    file = tmp_path / "pipeline.toml"
    file.write_text(f'name = "audit"\nseed = 1\ndevice = "cpu"\nthreads = 1\n{text}')
    assignments = [each.replace("@", str(files)) for each in (*base, *needed)]
    folder = run(load_pipeline(file, REGISTRY, assignments), REGISTRY, tmp_path / "runs")

    if parameter == "timesteps":
        assert last_step(continued(folder, "changed", f"{path}={value}")) > last_step(folder)
        return
    longer = f"trainer.steps={last_step(folder) + 4}"
    same = continued(folder, "same", longer)
    changed = continued(folder, "changed", longer, f"{path}={value}")

    first, second = (comparable_metrics(each.path) for each in (same, changed))
    if key in WITHOUT_EFFECT:
        assert first == second
    else:
        assert first != second


def test_trainers_declare_only_their_own_parameters():
    undeclared = [(name, key) for name, key in CASES if key.partition(".")[0] not in own_parameters(name)]

    assert not undeclared
    assert len(CASES) > 40
