import pytest
import torch

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe_generative import train_on_generated as module
from dlpipe_generative.train_on_generated import TrainOnGenerated

CPU = Compute(torch.device("cpu"))


def test_correctly_labeled_samples_train_a_good_classifier_and_mislabeled_ones_do_not(examples, stripes, replay_model):
    images = stripes.split("dev").columns["images"]
    evaluator = TrainOnGenerated(3, count=60, classifier_steps=60)

    good = evaluator.evaluate(replay_model(images, 3), examples)
    mixed_up = evaluator.evaluate(replay_model(images.roll(1, 0), 3), examples)

    # The classifier taught on train is right about two thirds of test; one taught on test would be about all of it.
    assert good == {"accuracy": pytest.approx(2 / 3), "accuracy_real": pytest.approx(2 / 3)}
    assert mixed_up == {"accuracy": 0.0, "accuracy_real": pytest.approx(2 / 3)}


def test_each_split_is_judged_by_itself(stripes, replay_model):
    model = replay_model(stripes.split("train").columns["images"], 3)
    evaluator = TrainOnGenerated(3, count=60, classifier_steps=60)

    found = [evaluator.evaluate(model, Examples(stripes, split, CPU)) for split in ("dev", "test")]

    assert [each["accuracy_real"] for each in found] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]


def test_the_classifier_of_real_images_is_trained_once_per_split(stripes, replay_model, monkeypatch):
    taught, train = [], module.train_classifier
    monkeypatch.setattr(
        module, "train_classifier", lambda images, *given: taught.append(images) or train(images, *given)
    )
    generated, real = (stripes.split(split).columns["images"] for split in ("dev", "train"))
    evaluator = TrainOnGenerated(3, count=15, classifier_steps=2)

    for split in ("test", "test", "dev", "test"):
        evaluator.evaluate(replay_model(generated, 3), Examples(stripes, split, CPU))

    assert [torch.equal(images, generated) for images in taught] == [False, True, True, False, True, True]
    assert torch.equal(taught[0], real)
    assert torch.equal(taught[3], real)


def test_each_split_has_latent_vectors_of_its_own(stripes, replay_model, monkeypatch):
    model, seen = replay_model(stripes.split("train").columns["images"], 3), []
    monkeypatch.setattr(model, "generate", lambda latent, targets: seen.append(latent) or model.images[:15])
    evaluator = TrainOnGenerated(3, count=15, classifier_steps=2)

    for split in ("dev", "test"):
        evaluator.evaluate(model, Examples(stripes, split, CPU))

    assert not torch.isclose(*seen).any()


def test_no_examples_are_asked_for_one_by_one_so_that_train_examples_is_refused(stripes, replay_model):
    model, examples = replay_model(stripes.split("train").columns["images"], 3), Examples(stripes, "train", CPU, most=7)

    TrainOnGenerated(3, count=60, classifier_steps=2).evaluate(model, examples)

    assert not examples.used


def test_an_unconditional_model_is_rejected(examples, replay_model):
    with pytest.raises(
        InputError, match="needs a conditional model; the model is an unconditional ReplayModel; set conditional = true"
    ):
        TrainOnGenerated(3).evaluate(replay_model(torch.zeros(1, 1, 4, 6)), examples)
