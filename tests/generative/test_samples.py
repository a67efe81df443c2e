import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from dlpipe_generative.dcgan import DCGAN
from dlpipe_generative.samples import Samples, spherical, walks


def model(**options):
    torch.manual_seed(0)
    return DCGAN((1, 4, 6), (-1.0, 1.0), channels=4, latent_dim=5, smallest=2, **options)


def test_a_walk_begins_and_ends_where_it_should_and_keeps_its_length():
    starts, ends = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 3.0], [2.0, 0.0]])

    walked = spherical(starts, ends, 5).view(2, 5, 2)

    assert_close(walked[:, 0], starts)
    assert_close(walked[:, -1], ends)
    assert_close(walked.norm(dim=2), torch.tensor([[3.0], [2.0]]).expand(2, 5))


def test_a_walk_to_where_one_stands_already_is_no_walk():
    place = torch.randn(1, 7)

    assert_close(spherical(place, place, 3), place.expand(3, 7), atol=1e-3, rtol=1e-3)


def test_the_same_images_are_drawn_each_time_and_training_draws_on_uninterrupted(dark_examples):
    judge, net = Samples((-1.0, 1.0), count=6), model()
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)

    assert judge.evaluate(net, dark_examples) == {}
    first = judge._images
    judge.evaluate(net, dark_examples)

    assert_close(judge._images, first)
    assert torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize("conditional", [False, True])
def test_a_sheet_a_walk_and_a_film(dark_examples, tmp_path, conditional):
    judge = Samples((-1.0, 1.0), count=6)
    for step in (5, 10):
        net = model(conditional=conditional, num_classes=3)
        torch.nn.init.constant_(net.generator.layers[-2].bias, step / 10)
        judge.evaluate(net, dark_examples)
        judge.sample(tmp_path, step)

    judge.write(tmp_path)

    names = {"samples.png", "interpolation.png", "step-00000005.png", "step-00000010.png", "training.gif"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert Image.open(tmp_path / "samples.png").size == (3 * 62 + 2, 2 * 42 + 2)
    assert Image.open(tmp_path / "training.gif").n_frames == 2


def test_a_walk_is_of_one_class():
    class Told(DCGAN):
        def draw(self, latent, targets=None):
            return targets[:, None, None, None].expand(-1, 1, 4, 6)

    net = Told((1, 4, 6), (-1.0, 1.0), channels=4, latent_dim=5, smallest=2, conditional=True, num_classes=3)

    assert walks(net, 4, 2, 0, "here")[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 0, 0]
