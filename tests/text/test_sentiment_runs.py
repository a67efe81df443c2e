"""Whole runs of text classifiers."""

from __future__ import annotations

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.engine.inference import open_run
from dlpipe.engine.prediction import predict
from dlpipe.registry.loading import load_plugins
from dlpipe.testing import check_resume

pytestmark = pytest.mark.usefixtures("without_report")

SMALL = [
    "data.num_train=60",
    "data.num_dev=10",
    "data.num_test=10",
    "model.hidden_dim=7",
    "model.embed_dim=5",
    "trainer.batch_size=16",
    "trainer.epochs=2",
]


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    registry = load_plugins()
    pipeline = load_pipeline(root / "pipelines" / "sentiment.toml", registry, SMALL)
    return open_run(run(pipeline, registry, tmp_path_factory.mktemp("runs")).path)


def test_texts_of_different_lengths_get_one_answer_each_whatever_is_beside_them(trained):
    items = ["not bad at all", "糟透了", "good"]

    together = list(predict(trained, [("item", item) for item in items]))
    alone = [next(predict(trained, [("item", item)])) for item in items]

    assert together == alone
    assert [answer["item"] for answer in together] == items
    assert all(answer["label"] in ("negative", "positive") and answer["probability"] >= 0.5 for answer in together)


def test_a_stopped_run_resumes_exactly(root, tmp_path):
    check_resume(root / "pipelines" / "sentiment.toml", tmp_path, assignments=SMALL)


def test_an_ensemble_averages_what_its_stages_predict(root, tmp_path):
    texts = [(f"{word} {number}", word) for number in range(30) for word in ("good", "bad")]
    (tmp_path / "t.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in texts))
    stages = ("counts", "network", "ensemble")
    changes = [f"stages.{stage}.data.path={tmp_path}/t.tsv" for stage in stages]
    changes += [f"stages.{stage}.data.dev_size=0.2" for stage in stages] + ["stages.network.trainer.epochs=1"]
    registry = load_plugins()
    pipeline = load_pipeline(root / "pipelines" / "sentiment_movies_ensemble.toml", registry, changes)

    folder = run(pipeline, registry, tmp_path / "runs").path
    (tmp_path / "t.tsv").unlink()  # to predict, no data is read

    def positive(stage):
        (answer,) = predict(open_run(folder, stage=stage), [("item", "not so good 3")])
        return answer["probability"] if answer["label"] == "good" else 1 - answer["probability"]

    counts, network, ensemble = map(positive, stages)
    product, other = (counts * network) ** 0.5, ((1 - counts) * (1 - network)) ** 0.5
    assert ensemble == pytest.approx(product / (product + other), abs=2e-4)


def test_a_missing_font_for_the_names_of_classes_is_named_once_before_the_run_trains(
    root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("dlpipe.figures._fonts_for", lambda characters: ([], [*({*characters} & {"面"})]))
    lines = "".join(f"{text}\t{label}\n" for text, label in [("很好", "正面"), ("很糟", "負面")] * 15)
    (tmp_path / "reviews.tsv").write_text("text\tlabel\n" + lines, encoding="utf-8")
    data = f"data={{ use = 'text.labeled', path = '{tmp_path}/reviews.tsv' }}"
    registry = load_plugins()
    pipeline = load_pipeline(root / "pipelines" / "sentiment_movies.toml", registry, [data, "trainer.epochs=1"])

    run(pipeline, registry, tmp_path / "runs")

    log = capsys.readouterr().err
    assert log.count("no installed font has 面") == 1
    assert log.index("no installed font") < log.index("epoch 1")
