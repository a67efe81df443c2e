import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from dlpipe_generative.autoencoder import AutoEncoder
from dlpipe_generative.latent import Latent, interpolated, nearest_classes, traversed
from dlpipe_generative.vae import VAE


def test_codes_between_two_lie_on_a_line_that_ends_in_both():
    starts, ends = torch.tensor([[0.0, 1.0], [2.0, 2.0]]), torch.tensor([[4.0, 3.0], [2.0, 0.0]])

    between = interpolated(starts, ends, 3)

    assert_close(between, torch.tensor([[0.0, 1], [2, 2], [4, 3], [2, 2], [2, 1], [2, 0]]))


def test_one_number_at_a_time_is_moved():
    moved = traversed(torch.tensor([5.0, 6.0, 7.0]), torch.tensor([2, 0]), torch.tensor([1.0, 1.0, 2.0]))

    first, second = moved[:11], moved[11:]
    assert_close(first[:, :2], torch.tensor([[5.0, 6.0]]).expand(11, 2))
    assert_close(first[:, 2], torch.linspace(-5, 5, 11))
    assert_close(second[:, 1:], torch.tensor([[6.0, 7.0]]).expand(11, 2))


def test_most_of_the_nearest_codes_decide():
    known = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1]])

    answers = nearest_classes(torch.tensor([[0.0], [5.0]]), known, torch.tensor([2, 4, 2, 3, 3]), 3)

    assert answers.tolist() == [2, 3]


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "conditional"])
def test_pictures_of_a_code_of_two_numbers(examples, tmp_path, kind):
    torch.manual_seed(0)
    options = {"hidden": (7,), "latent_dim": 2}
    shape = (1, 4, 6), (0.0, 1.0)
    model = (
        AutoEncoder(*shape, **options)
        if kind == "autoencoder"
        else VAE(*shape, num_classes=3, conditional=kind == "conditional", **options)
    )
    judge = Latent((0.0, 1.0))

    found = judge.evaluate(model, examples)
    judge.write(tmp_path)

    assert 0 <= found["knn_accuracy"] <= 1
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["codes", "interpolation", "map", "random", "traversal"]
    assert Image.open(tmp_path / "traversal.png").size == (11 * 62 + 2, 2 * 42 + 2)


def test_codes_that_keep_the_classes_apart_are_told_by_their_neighbours(examples):
    class Brightest(AutoEncoder):
        def encode(self, images, targets=None):
            return images[:, 0, 0, ::2]

    model = Brightest((1, 4, 6), (0.0, 1.0), hidden=(7,), latent_dim=3)

    assert Latent((0.0, 1.0)).evaluate(model, examples) == {"knn_accuracy": 1.0}
