import json

import pytest
import torch

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe_generative import quality as quality_module
from dlpipe_generative.quality import Quality


def judge(**options):
    return Quality(3, **{"classifier_steps": 60, **options})


def test_real_images_are_as_near_as_the_floor_and_noise_is_far(examples, stripes, parrot):
    images = stripes.split("dev").columns["images"]
    quality = judge()

    good = quality.evaluate(parrot(images, 3), examples)
    bad = quality.evaluate(parrot(torch.rand(images.shape), 3), examples)

    assert good["frechet_own"] < 3 * good["frechet_floor"] + 0.5
    assert bad["frechet_own"] > 10 * good["frechet_own"]
    assert bad["kid_own"] > good["kid_own"]
    assert bad["frechet_floor"] == good["frechet_floor"]
    assert good["precision"] > 0.5 > bad["precision"]
    assert (good["classes"], good["rarest_class"], good["as_asked"]) == (3, 1, 1)


def test_the_classifier_is_taught_once(examples, stripes, parrot, monkeypatch):
    quality, taught_before = judge(classifier_steps=2), quality_module.taught
    calls = []
    monkeypatch.setattr(quality_module, "taught", lambda *given: calls.append(given) or taught_before(*given))

    for _ in range(2):
        quality.evaluate(parrot(stripes.split("dev").columns["images"]), examples)

    assert len(calls) == 1


def test_classes_that_are_missing_are_counted(examples, stripes, parrot):
    columns = stripes.split("dev").columns
    images = columns["images"][columns["targets"] == 1]

    found = judge().evaluate(parrot(images), examples)

    assert (found["classes"], found["rarest_class"]) == (1, 0)
    assert "as_asked" not in found


def test_the_file_says_with_what_it_was_measured(examples, stripes, parrot, tmp_path):
    quality = judge()
    quality.evaluate(parrot(stripes.split("dev").columns["images"]), examples)

    quality.write(tmp_path)

    told = json.loads((tmp_path / "quality.json").read_text())
    assert "not with published FID or KID" in told["note"]
    assert (told["images"], told["classifier_accuracy"]) == (15, 1.0)


def test_images_without_classes_are_refused(stripes, parrot):
    class Nameless:
        def split(self, name):
            return Columns({"images": stripes.split(name).columns["images"]})

    with pytest.raises(InputError, match=r"quality needs images of classes \(a column targets\)"):
        judge().evaluate(parrot(torch.zeros(3, 1, 4, 6)), Examples(Nameless(), "test", Compute(torch.device("cpu"))))
