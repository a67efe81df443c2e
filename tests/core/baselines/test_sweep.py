"""Baselines beside networks in one sweep that is stopped and continued by another process; nothing is pickled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.registry.loading import load_plugins

SWEEP = """
name = "beside"
seed = 1
threads = 1

[data]
use = "vision.digits"
limit = 200

[model]
use = "core.majority_class"

[trainer]
use = "core.fit"

[evaluators.digits]
use = "core.classification"

[sweep.method]
regression = { "model" = { use = "core.logistic_regression" } }
neighbors = { "model" = { use = "core.nearest_neighbors" } }
forest = { "model" = { use = "core.random_forest", num_trees = 20 } }
mlp = { "model" = { use = "core.mlp", hidden = [32] }, "trainer" = { use = "core.supervised", epochs = 3 } }
cnn = { "model" = { use = "vision.cnn", layers = [{ conv = 4 }, { pool = 2 }] }, "trainer" = { use = "core.supervised", epochs = 3 } }
"""
TRIALS = 5


def start(folder):
    command = [sys.executable, "-m", "dlpipe", "sweep", "beside.toml"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_a_sweep_of_baselines_and_networks_is_continued_in_another_process(tmp_path):
    (tmp_path / "beside.toml").write_text(SWEEP)
    first = start(tmp_path)
    for line in first.stdout:
        if line.startswith("[2/"):
            first.send_signal(signal.SIGTERM)
            break
    first.stdout.read()
    assert first.wait() != 0

    second = start(tmp_path)
    output, _ = second.communicate()

    assert second.returncode == 0, output
    for name in ("regression", "neighbors", "forest", "mlp", "cnn"):
        assert f"\n{name}" in output
    runs = [path for path in (tmp_path / "runs" / "beside").iterdir() if path.name[0] == "2"]
    assert len(runs) == TRIALS  # none was repeated
    written = {path.suffix for run in runs for path in run.rglob("*") if path.is_file()}
    assert not written & {".pkl", ".pickle", ".joblib"}
    for path in (tmp_path / "runs").rglob("*.pt"):
        for name in (names := zipfile.ZipFile(path)).namelist():
            assert b"sklearn" not in names.read(name)


def test_the_pipeline_that_ships_has_no_mistakes(root):
    pipeline = load_pipeline(root / "pipelines" / "baselines_digits.toml", load_plugins())

    assert pipeline.stages[""].trainer.component.name == "core.fit"


@pytest.mark.slow
def test_a_forest_is_used_in_another_process(tmp_path):
    (tmp_path / "beside.toml").write_text(SWEEP.replace("core.majority_class", "core.random_forest"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def dlpipe(*arguments):
        command = [sys.executable, "-m", "dlpipe", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    trained = dlpipe("run", "beside.toml", "--no-rehearsal")
    evaluated = dlpipe("evaluate", "runs/beside/latest")

    accuracy = evaluated.split("digits/accuracy")[1].split()[0]
    assert f"digits/accuracy {accuracy}" in trained
