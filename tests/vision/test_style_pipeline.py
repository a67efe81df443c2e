"""Style transfer as a pipeline of stages: what it refuses, how it resumes, and what it draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import InputError, PipelineError
from dlpipe.registry.loading import load_plugins
from dlpipe.testing import check_resume

PIPELINE = """
name = "style"
threads = 1
device = "cpu"
[stages.features.data]
use = "vision.textures"
size = 12
train_size = 20
test_size = 10
normalize = "unit"
[stages.features.model]
use = "vision.cnn"
layers = [{ conv = 3, norm = true }, { pool = 2 }, { conv = 4 }]
[stages.features.trainer]
use = "core.supervised"
steps = 2
[stages.transfer.data]
use = "vision.content_and_style"
size = 12
train_size = 12
dev_size = 4
test_size = 6
[stages.transfer.model]
use = "vision.style_transfer"
features = { stage = "features" }
content_layer = "layers.2"
style_layers = ["layers.0"]
[stages.transfer.trainer]
use = "core.supervised"
batch_size = 5
steps = 5
ema_decay = 0.9
optimizer = { use = "adam", lr = 1e-2 }
[stages.transfer.evaluators.loss]
use = "core.loss"
[stages.transfer.evaluators.style]
use = "vision.stylization"
judge = { stage = "features" }
judge_layers = ["layers.0"]
num_styles = 3
"""


@pytest.fixture
def pipeline(tmp_path) -> Path:
    path = tmp_path / "style.toml"
    path.write_text(PIPELINE)
    return path


def test_features_of_pixels_of_another_range_are_refused(pipeline, tmp_path):
    registry = load_plugins()
    wrong = load_pipeline(pipeline, registry, ["stages.features.data.normalize='symmetric'"])

    with pytest.raises(
        InputError, match=r"features: .*features.* was trained with pixel_range = \[-1.0, 1.0\], and here"
    ):
        run(wrong, registry, tmp_path / "runs")


def test_images_that_leave_nothing_to_see_are_refused_before_the_start(pipeline):
    with pytest.raises(
        PipelineError, match=r"\[stages.transfer.data\] size = 7: expected a whole number of at least 8"
    ):
        load_pipeline(pipeline, load_plugins(), ["stages.transfer.data.size=7"])


@pytest.mark.slow
def test_a_style_transfer_resumes_exactly(pipeline, tmp_path):
    check_resume(pipeline, tmp_path)
