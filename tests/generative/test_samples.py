import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from dlpipe_generative import samples
from dlpipe_generative.dcgan import DCGAN
from dlpipe_generative.samples import Samples, random_interpolations, spherical_interpolation


def model(**options):
    torch.manual_seed(0)
    return DCGAN((1, 4, 6), (-1.0, 1.0), channels=4, latent_dim=5, smallest=2, **options)


def test_a_spherical_interpolation_starts_and_ends_in_the_vectors_and_keeps_their_length():
    starts, ends = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 3.0], [2.0, 0.0]])

    path = spherical_interpolation(starts, ends, 5).view(2, 5, 2)

    assert_close(path[:, 0], starts)
    assert_close(path[:, -1], ends)
    assert_close(path.norm(dim=2), torch.tensor([[3.0], [2.0]]).expand(2, 5))


def test_a_spherical_interpolation_between_equal_vectors_is_constant():
    place = torch.randn(1, 7)

    assert_close(spherical_interpolation(place, place, 3), place.expand(3, 7), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("start", "end", "middle"),
    [
        ([-0.8], [1.3], [0.25]),
        ([-0.8, 0.0, 0.0], [1.2, 0.0, 0.0], [0.2, 0.0, 0.0]),  # opposite: straight
        ([2.0, 0.0, 0.0], [0.0, 0.0, 4.0], [3 / 2**0.5, 0.0, 3 / 2**0.5]),
        ([-1.0, 0.01, 0.0], [3.0, 0.0, 0.0], [0.01, 2.0, 0.0]),  # nearly opposite: half a turn
    ],
)
def test_a_spherical_interpolation_between_vectors_of_different_lengths_has_lengths_in_between(start, end, middle):
    path = spherical_interpolation(torch.tensor([start]), torch.tensor([end]), 3)

    assert_close(path, torch.tensor([start, middle, end]), atol=0.001, rtol=0)


def test_samples_are_reproducible_and_the_random_state_is_unchanged(dark_examples):
    evaluator, net = Samples((-1.0, 1.0), count=6), model()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    assert evaluator.evaluate(net, dark_examples) == {}
    first = evaluator._images
    evaluator.evaluate(net, dark_examples)

    assert_close(evaluator._images, first)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("conditional", [False, True])
def test_a_grid_interpolations_and_an_animation_are_written(dark_examples, tmp_path, conditional, grid_names):
    names_of_grids = grid_names(samples)
    evaluator = Samples((-1.0, 1.0), count=6)
    for step in (5, 10):
        net = model(conditional=conditional, num_classes=3)
        torch.nn.init.constant_(net.generator.layers[-2].bias, step / 10)
        evaluator.evaluate(net, dark_examples)
        moving, frame = evaluator.sample(tmp_path, step)

    grid, interpolation = evaluator.write(tmp_path)

    names = {"samples.png", "interpolation.png", "step-00000005.png", "step-00000010.png", "training.gif"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert [each.file for each in (moving, frame)] == ["training.gif", "step-00000010.png"]
    assert [each.file for each in (grid, interpolation)] == ["samples.png", "interpolation.png"]
    assert ("each column is a class" in grid.caption) == conditional
    assert ("all of the class on the left" in interpolation.caption) == conditional
    *_, of_samples, of_interpolations = names_of_grids
    assert of_samples == ({"column_names": ["left", "middle", "right"]} if conditional else {})
    assert of_interpolations.get("row_names", [])[:4] == (["left", "middle", "right", "left"] if conditional else [])
    assert of_interpolations["column_names"][-1] == "100 %"
    assert Image.open(tmp_path / "samples.png").size == (3 * 62 + 2, (14 if conditional else 0) + 2 * 42 + 2)
    assert Image.open(tmp_path / "training.gif").n_frames == 2


def test_an_interpolation_has_one_class():
    class ClassValue(DCGAN):
        def generate(self, latent, targets=None):
            return targets[:, None, None, None].expand(-1, 1, 4, 6)

    net = ClassValue((1, 4, 6), (-1.0, 1.0), channels=4, latent_dim=5, smallest=2, conditional=True, num_classes=3)

    assert random_interpolations(net, 4, 2, 0, "here")[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 0, 0]
