import pytest
import torch

from dlpipe.errors import InputError
from dlpipe_generative.train_on_generated import TrainOnGenerated


def test_correctly_labelled_samples_train_a_good_classifier_and_mislabelled_ones_do_not(
    examples, stripes, replay_model
):
    images = stripes.split("dev").columns["images"]
    evaluator = TrainOnGenerated(3, count=60, classifier_steps=60)

    good = evaluator.evaluate(replay_model(images, 3), examples)
    mixed_up = evaluator.evaluate(replay_model(images.roll(1, 0), 3), examples)

    assert good == {"accuracy": 1.0, "accuracy_real": 1.0}
    assert mixed_up == {"accuracy": 0.0, "accuracy_real": 1.0}


def test_an_unconditional_model_is_rejected(examples, replay_model):
    with pytest.raises(
        InputError, match="needs a conditional model; the model is an unconditional ReplayModel; set conditional = true"
    ):
        TrainOnGenerated(3).evaluate(replay_model(torch.zeros(1, 1, 4, 6)), examples)
