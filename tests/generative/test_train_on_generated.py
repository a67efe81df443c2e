import pytest
import torch

from dlpipe.errors import InputError
from dlpipe_generative.train_on_generated import TrainOnGenerated


def test_what_is_learned_from_good_images_reads_real_ones_and_from_mislabelled_does_not(examples, stripes, parrot):
    images = stripes.split("dev").columns["images"]
    judge = TrainOnGenerated(3, count=60, classifier_steps=60)

    good = judge.evaluate(parrot(images, 3), examples)
    mixed_up = judge.evaluate(parrot(images.roll(1, 0), 3), examples)

    assert good == {"accuracy": 1.0, "accuracy_real": 1.0}
    assert mixed_up == {"accuracy": 0.0, "accuracy_real": 1.0}


def test_a_model_that_takes_no_wishes_is_refused(examples, parrot):
    with pytest.raises(InputError, match=r"needs a model that can be told a class; set \[model\] conditional = true"):
        TrainOnGenerated(3).evaluate(parrot(torch.zeros(1, 1, 4, 6)), examples)
