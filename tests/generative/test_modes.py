import pytest
import torch
from PIL import Image
from torch import nn

from dlpipe.compute import Compute
from dlpipe.evaluation.examples import Examples
from dlpipe_generative.gaussian_ring import GaussianRing
from dlpipe_generative.modes import Modes, coverage

CENTERS = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])


class Drawer(nn.Module):
    """Draws the first two numbers, moved by a weight."""

    latent_dim, num_classes = 3, None

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.tensor([2.0, 0.0]))

    def draw(self, latent, targets=None):
        return self.place + latent[:, :2] * 0.02


def test_points_within_three_deviations_of_a_mode_count_and_others_do_not():
    near, far = torch.tensor([0.29, 0.0]), torch.tensor([0.31, 0.0])
    points = torch.cat([CENTERS[0].expand(6, 2), CENTERS[1].expand(3, 2) + near, CENTERS[2][None] + far])

    found = coverage(points, CENTERS, 0.1)

    assert (found.modes, found.high_quality, found.smallest_share) == (2, 0.9, 0.0)
    assert found.covered_quality == pytest.approx(0.9 * 2 / 3)


def test_a_stray_point_does_not_cover_a_mode():
    points = torch.cat([CENTERS[0].expand(99, 2), CENTERS[1][None]])

    assert coverage(points, CENTERS, 0.1).modes == 1


def test_the_rarest_mode_is_told_by_its_share():
    points = torch.cat([CENTERS[0].expand(5, 2), CENTERS[1].expand(4, 2), CENTERS[2].expand(3, 2)])

    assert coverage(points, CENTERS, 0.1).smallest_share == pytest.approx(3 * 3 / 12)


def test_a_generator_that_knows_one_mode_is_told_so_and_a_film_is_made(tmp_path):
    data = GaussianRing(count=100)
    judge = Modes(data.facts["mode_centers"], data.facts["mode_deviation"], count=400)

    found = judge.evaluate(Drawer(), Examples(data, "dev", Compute(torch.device("cpu"))))
    judge.write(tmp_path)
    for step in (2, 10):
        judge.sample(tmp_path, step)

    assert found["modes"] == 1
    assert found["high_quality"] > 0.97
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "points.png",
        "step-00000002.png",
        "step-00000010.png",
        "training.gif",
    ]
    assert Image.open(tmp_path / "training.gif").n_frames == 2
