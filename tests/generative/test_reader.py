import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_generative.reader import FEATURES, Reader, taught


def stripes_of(stripes, split="train"):
    columns = stripes.split(split).columns
    return columns["images"], torch.stack([columns["targets"], columns["targets"] % 2], dim=1)


def test_every_attribute_has_its_own_logits():
    torch.manual_seed(0)
    reader = Reader((1, 4, 6), (3, 2)).eval()
    images, wanted = torch.randn(5, 1, 4, 6), torch.tensor([[2, 0]] * 5)

    logits = reader(images)

    assert logits.shape == (5, 5)
    assert reader.see(images).shape == (5, FEATURES)
    losses = F.cross_entropy(logits[:, :3], wanted[:, 0]), F.cross_entropy(logits[:, 3:], wanted[:, 1])
    assert_close(reader.loss(logits, wanted), sum(losses) / 2)
    assert torch.equal(reader.read(images), torch.stack([logits[:, :3].argmax(1), logits[:, 3:].argmax(1)], dim=1))


def test_it_learns_to_read(stripes):
    reader = taught(*stripes_of(stripes), (3, 2), steps=60)
    images, wanted = stripes_of(stripes, "test")

    assert torch.equal(reader.read(images), wanted)


def test_it_learns_the_same_each_time_and_training_draws_on_uninterrupted(stripes):
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)

    first = taught(*stripes_of(stripes), (3, 2), steps=3)

    assert torch.equal(torch.rand(1), wanted)
    assert_close(dict(taught(*stripes_of(stripes), (3, 2), steps=3).state_dict()), dict(first.state_dict()))


def test_it_can_learn_where_others_only_look(stripes):
    with torch.inference_mode():
        images, wanted = (tensor.clone() for tensor in stripes_of(stripes))
        reader = taught(images, wanted, (3, 2), steps=2)

    assert not reader.training
