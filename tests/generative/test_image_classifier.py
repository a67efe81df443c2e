import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_generative.image_classifier import FEATURES, ImageClassifier, train_classifier


def stripes_of(stripes, split="train"):
    columns = stripes.split(split).columns
    return columns["images"], torch.stack([columns["targets"], columns["targets"] % 2], dim=1)


def test_every_attribute_has_its_own_logits():
    torch.manual_seed(0)
    classifier = ImageClassifier((1, 4, 6), (3, 2)).eval()
    images, targets = torch.randn(5, 1, 4, 6), torch.tensor([[2, 0]] * 5)

    logits = classifier(images)

    assert logits.shape == (5, 5)
    assert classifier.extract_features(images).shape == (5, FEATURES)
    losses = F.cross_entropy(logits[:, :3], targets[:, 0]), F.cross_entropy(logits[:, 3:], targets[:, 1])
    assert_close(classifier.loss(logits, targets), sum(losses) / 2)
    assert torch.equal(
        classifier.classify(images), torch.stack([logits[:, :3].argmax(1), logits[:, 3:].argmax(1)], dim=1)
    )


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (4, 7), (7, 6), (9, 2)])
def test_images_of_any_size_are_classified(size):
    classifier = ImageClassifier((2, *size), (3,)).eval()

    assert classifier(torch.randn(5, 2, *size)).shape == (5, 3)


def test_it_learns_to_classify(stripes):
    classifier = train_classifier(*stripes_of(stripes), (3, 2), steps=60)
    images, _ = stripes_of(stripes, "test")

    positions = torch.arange(15) % 3
    assert torch.equal(classifier.classify(images), torch.stack([positions, positions % 2], dim=1))


def test_training_is_reproducible_and_leaves_the_random_state_unchanged(stripes):
    torch.manual_seed(5)
    targets = torch.rand(1)
    torch.manual_seed(5)

    first = train_classifier(*stripes_of(stripes), (3, 2), steps=3)

    assert torch.equal(torch.rand(1), targets)
    assert_close(dict(train_classifier(*stripes_of(stripes), (3, 2), steps=3).state_dict()), dict(first.state_dict()))


def test_it_can_be_trained_inside_inference_mode(stripes):
    with torch.inference_mode():
        images, targets = (tensor.clone() for tensor in stripes_of(stripes))
        classifier = train_classifier(images, targets, (3, 2), steps=2)

    assert not classifier.training
