import json
import statistics

import pytest
import torch

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe_generative import quality as quality_module
from dlpipe_generative.distances import frechet_distance, kernel_distance
from dlpipe_generative.image_classifier import train_classifier
from dlpipe_generative.quality import Quality


def evaluator(**options):
    return Quality(3, **{"classifier_steps": 60, **options})


def test_the_classifier_and_the_reference_are_those_of_train(stripes, replay_model):
    """Stripes of dev and test look other than those of train, and have other classes."""
    columns = stripes.split("train").columns
    classifier = train_classifier(columns["images"], columns["targets"][:, None], [3], seed=0, steps=60)
    known = classifier.extract_features(columns["images"])
    copies = replay_model(columns["images"][:15])

    for split, right in (("dev", 1 / 3), ("test", 2 / 3)):
        quality = evaluator(count=15)
        metrics = quality.evaluate(copies, Examples(stripes, split, Compute(torch.device("cpu"))))

        real = classifier.extract_features(stripes.split(split).columns["images"])
        spread = known[torch.linspace(0, 59, 15).long()]
        assert metrics["frechet_real"] == pytest.approx(frechet_distance(real, known))
        assert metrics["kid_real"] == pytest.approx(kernel_distance(real, spread))
        assert metrics["frechet_own"] == pytest.approx(frechet_distance(known[:15], known), abs=1e-6)
        assert metrics["frechet_own"] < metrics["frechet_real"] / 2  # no floor: copies of train are nearer
        assert quality._report["classifier_accuracy"] == right


def test_the_spread_of_the_real_distance_is_over_resamples_of_each_class_of_the_split(examples, stripes, replay_model):
    quality, images, test = evaluator(), stripes.split("dev").columns["images"], stripes.split("test").columns

    metrics = quality.evaluate(replay_model(images), examples)

    known, real = quality._reference.features, quality._reference.classifier.extract_features(test["images"])
    of_classes = [real[test["targets"] == number] for number in (0, 1)]  # 5 and 10 images
    rng = torch.Generator().manual_seed(0)
    resamples = (
        torch.cat([some[torch.randint(len(some), (len(some),), generator=rng)] for some in of_classes])
        for _ in range(50)
    )
    found = [frechet_distance(resample, known) for resample in resamples]
    assert metrics["frechet_real_deviation"] == pytest.approx(statistics.stdev(found))
    assert evaluator(seed=1).evaluate(replay_model(images), examples)["frechet_real_deviation"] != pytest.approx(
        metrics["frechet_real_deviation"]
    )


def test_the_latent_vectors_of_test_are_not_those_of_dev(stripes):
    seen = []

    class Recorder(torch.nn.Module):
        latent_dim, num_classes = 5, None

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def generate(self, latent, targets=None):
            seen.append(latent)
            return stripes.split("dev").columns["images"][: len(latent)]

    quality = evaluator(classifier_steps=2)
    for split in ("dev", "test", "dev"):
        quality.evaluate(Recorder(), Examples(stripes, split, Compute(torch.device("cpu"))))

    assert torch.equal(seen[0], seen[2])
    assert not torch.isclose(seen[0], seen[1]).any()


def test_real_images_are_nearer_than_noise(examples, stripes, replay_model):
    images = stripes.split("test").columns["images"]
    quality = evaluator()

    good = quality.evaluate(replay_model(images, 3), examples)
    bad = quality.evaluate(replay_model(torch.rand(images.shape), 3), examples)

    assert good["frechet_own"] == pytest.approx(good["frechet_real"])
    assert good["kid_own"] == pytest.approx(good["kid_real"])
    assert bad["frechet_own"] > 2 * good["frechet_own"]
    assert bad["frechet_real"] == good["frechet_real"]
    assert good["precision"] == good["recall"] == good["coverage"] == 1
    assert bad["precision"] < 0.5
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
    images = stripes.split("dev").columns["images"]

    middle = evaluator().evaluate(replay_model(images[1::3]), examples)
    twice_left = evaluator().evaluate(replay_model(images[[0, 3, 6, 1, 2]]), examples)
    metrics = evaluator().evaluate(replay_model(images[[0, 1]]), examples)

    assert (middle["classes"], middle["rarest_class"]) == (1, 0)
    assert (twice_left["classes"], twice_left["rarest_class"]) == (3, pytest.approx(3 / 5))
    assert (metrics["classes"], metrics["rarest_class"]) == (2, 0)  # the class that comes last is the one that lacks
    assert "as_asked" not in metrics


def test_the_report_says_how_it_was_measured(examples, stripes, replay_model, tmp_path):
    quality = evaluator()
    quality.evaluate(replay_model(stripes.split("dev").columns["images"]), examples)

    (item,) = quality.write(tmp_path)

    assert (item.file, item.caption[:40]) == ("quality.json", "Measured on 15 generated and as many rea")
    report = json.loads((tmp_path / "quality.json").read_text())
    assert "not with published FID or KID" in report["note"]
    assert (report["images"], report["classifier_accuracy"]) == (15, 2 / 3)


def test_one_image_is_rejected_as_it_has_no_variance(examples, replay_model):
    with pytest.raises(
        InputError,
        match=r"quality compares the variance of images, and there is 1 of test; expected at least two: give more data",
    ):
        evaluator(count=1).evaluate(replay_model(torch.zeros(3, 1, 4, 6)), examples)


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
