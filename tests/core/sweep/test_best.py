"""The best trial of a sweep as a pipeline file."""

from __future__ import annotations

import tomllib

from dlpipe.config.check import load_pipeline
from dlpipe.sweep.best import write_best
from dlpipe.sweep.plan import load_sweep

PIPELINE = """\
name = "grid"
[data]
use = "fake.images"
path = "images"
[model]
use = "fake.net"
[trainer]
use = "fake.fit"
epochs = 1
[sweep]
"model.dropout" = [0.25, 0.5]
"""


def test_a_pipeline_with_relative_paths_is_extended(fakes, write, tmp_path):
    file, folder = write(PIPELINE), tmp_path / "runs" / "best"
    folder.mkdir(parents=True)
    assignments = ["'model'.bias=false"]
    trial = load_sweep(file, fakes, assignments).trials[1]

    path = write_best(folder, file, trial, assignments, lambda path: load_pipeline(path, fakes), "The best")

    text = path.read_text()
    assert text.startswith("# The best\n")
    assert tomllib.loads(text) == {"extends": "../../pipeline.toml", "model": {"bias": False, "dropout": 0.5}}
    assert load_pipeline(path, fakes).plain() == trial.pipelines[0].plain()
