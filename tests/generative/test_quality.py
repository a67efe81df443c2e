import json

import pytest
import torch

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe_generative import quality as quality_module
from dlpipe_generative.quality import Quality


def evaluator(**options):
    return Quality(3, **{"classifier_steps": 60, **options})


def test_real_images_reach_the_floor_and_noise_does_not(examples, stripes, replay_model):
    images = stripes.split("dev").columns["images"]
    quality = evaluator()

    good = quality.evaluate(replay_model(images, 3), examples)
    bad = quality.evaluate(replay_model(torch.rand(images.shape), 3), examples)

    assert good["frechet_own"] < 3 * good["frechet_floor"] + 0.5
    assert bad["frechet_own"] > 10 * good["frechet_own"]
    assert bad["kid_own"] > good["kid_own"]
    assert bad["frechet_floor"] == good["frechet_floor"]
    assert good["precision"] > 0.5 > bad["precision"]
    assert (good["classes"], good["rarest_class"], good["as_asked"]) == (3, 1, 1)


def test_the_classifier_is_trained_once(examples, stripes, replay_model, monkeypatch):
    quality, train_classifier_before = evaluator(classifier_steps=2), quality_module.train_classifier
    calls = []
    monkeypatch.setattr(
        quality_module, "train_classifier", lambda *given: calls.append(given) or train_classifier_before(*given)
    )

    for _ in range(2):
        quality.evaluate(replay_model(stripes.split("dev").columns["images"]), examples)

    assert len(calls) == 1


def test_missing_classes_are_counted(examples, stripes, replay_model):
    columns = stripes.split("dev").columns
    images = columns["images"][columns["targets"] == 1]

    metrics = evaluator().evaluate(replay_model(images), examples)

    assert (metrics["classes"], metrics["rarest_class"]) == (1, 0)
    assert "as_asked" not in metrics


def test_the_report_says_how_it_was_measured(examples, stripes, replay_model, tmp_path):
    quality = evaluator()
    quality.evaluate(replay_model(stripes.split("dev").columns["images"]), examples)

    (item,) = quality.write(tmp_path)

    assert (item.file, item.caption[:40]) == ("quality.json", "Measured on 15 generated and as many rea")
    report = json.loads((tmp_path / "quality.json").read_text())
    assert "not with published FID or KID" in report["note"]
    assert (report["images"], report["classifier_accuracy"]) == (15, 1.0)


def test_images_without_classes_are_rejected(stripes, replay_model):
    class Nameless:
        def split(self, name):
            return Columns({"images": stripes.split(name).columns["images"]})

    with pytest.raises(
        InputError, match="quality trains a classifier, which needs data with a column targets; Nameless has none"
    ):
        evaluator().evaluate(
            replay_model(torch.zeros(3, 1, 4, 6)), Examples(Nameless(), "test", Compute(torch.device("cpu")))
        )
