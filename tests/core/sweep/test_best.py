"""The best trial of a sweep as a pipeline file."""

from __future__ import annotations

import copy
import tomllib

import pytest

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


@pytest.mark.parametrize("extends", [True, False], ids=["an axis replaces a table", "no file"])
def test_the_local_plugins_of_a_pipeline_that_does_not_extend_another_lie_beside_it(fakes, write, tmp_path, extends):
    axis = '"model" = [{ use = "fake.net", dropout = 0.5 }]'
    text = PIPELINE.replace('"model.dropout" = [0.25, 0.5]', axis)
    file, folder = write(text.replace("[model]", "[model]\nbias = false")), tmp_path / "best"
    (tmp_path / "mine.py").write_text("from dlpipe import hookimpl\n\n@hookimpl\ndef dlpipe_models():\n    return []\n")
    file.write_text(f'plugins = ["./mine.py"]\n{file.read_text()}')
    folder.mkdir()
    registry = copy.deepcopy(fakes)  # one holds the original and the copy of a plugin to be two
    trial = load_sweep(file, registry, allow_local_plugins=True).trials[0]

    def load(path, registry=registry):
        return load_pipeline(path, registry, allow_local_plugins=True)

    path = write_best(folder, file if extends else None, trial, [], load, "The best")

    assert "extends" not in path.read_text()
    assert load(path, fakes).plain() == trial.pipelines[0].plain()
