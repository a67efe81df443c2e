"""Whole runs of the audio plugin."""

from __future__ import annotations

import json

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.engine.inference import open_run
from dlpipe.engine.prediction import predict
from dlpipe.registry.loading import load_plugins
from dlpipe.testing import check_resume

from .conftest import digits

pytestmark = pytest.mark.usefixtures("without_report")

SMALL = [
    "data.num_words=120",
    "data.num_speakers=10",
    "model.hidden_dim=7",
    "model.vector_dim=5",
    "trainer.epochs=2",
    "trainer.warmup_steps=3",
]


@pytest.mark.parametrize(
    "changes",
    [
        [],
        pytest.param(["data.pairs=same_word", "model.target=same_word"], marks=pytest.mark.slow),
        pytest.param(["data.pairs=alike", "model.target=same_word"], marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_resumes_exactly(root, tmp_path, changes):
    check_resume(root / "pipelines" / "audio_word2vec.toml", tmp_path, assignments=[*SMALL, *changes])


def test_a_keyword_classifier_says_which_word_it_hears(tmp_path, write):
    path = write(digits(takes=6))
    file = tmp_path / "words.toml"
    file.write_text(
        f'name = "words"\nseed = 1\nthreads = 1\n[data]\nuse = "audio.folder"\npath = {json.dumps(str(path))}\n'
        'rate_hz = 8000\n[model]\nuse = "audio.keyword_cnn"\nchannels = [8]\n[trainer]\nuse = "core.supervised"\nepochs = 15\n'
        'batch_size = 8\noptimizer = { use = "adam", lr = 1e-2 }\n[evaluators.words]\nuse = "core.classification"\n'
    )
    registry = load_plugins()
    trained = open_run(run(load_pipeline(file, registry), registry, tmp_path / "runs").path)

    answers = list(predict(trained, [("1", str(path / "yes_bob_2.wav")), ("2", str(path / "no_cem_0.wav"))]))

    assert [answer["label"] for answer in answers] == ["yes", "no"]
    assert all(answer["probability"] > 0.5 for answer in answers)


@pytest.mark.parametrize("data", ["audio.folder", "audio.manifest"])
def test_the_default_shares_may_stand_beside_speakers_as_in_resolved_pipelines(tmp_path, data):
    file = tmp_path / "words.toml"
    file.write_text(
        f'name = "words"\n[data]\nuse = "{data}"\npath = "words.csv"\ntest_speakers = ["ann"]\ntest_size = 0.1\n'
        'dev_speakers = ["bob"]\ndev_size = 0.1\n[model]\nuse = "audio.keyword_cnn"\n'
        '[trainer]\nuse = "core.supervised"\nepochs = 1\n'
    )

    (stage,) = load_pipeline(file, load_plugins()).stages.values()

    assert (stage.data.values["test_size"], stage.data.values["dev_size"]) == (0.1, 0.1)
