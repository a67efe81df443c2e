import pytest
import torch
from PIL import Image
from torch import nn

from dlpipe.compute import Compute
from dlpipe.evaluation.examples import Examples
from dlpipe_generative.gaussian_ring import GaussianRing
from dlpipe_generative.modes import Modes, mode_coverage
from dlpipe_generative.split_tensors import standard_normal

CENTERS = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])


class OneModeGenerator(nn.Module):
    """Returns the first two latent dimensions, shifted by a weight."""

    latent_dim, num_classes = 3, None

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.tensor([2.0, 0.0]))

    def generate(self, latent, targets=None):
        return self.place + latent[:, :2] * 0.02


def test_points_within_three_deviations_of_a_mode_count_and_others_do_not():
    near, far = torch.tensor([0.29, 0.0]), torch.tensor([0.31, 0.0])
    points = torch.cat([CENTERS[0].expand(6, 2), CENTERS[1].expand(3, 2) + near, CENTERS[2][None] + far])

    metrics = mode_coverage(points, CENTERS, 0.1)

    assert (metrics.modes, metrics.high_quality, metrics.smallest_share) == (2, 0.9, 0.0)
    assert metrics.covered_quality == pytest.approx(0.9 * 2 / 3)


def test_modes_that_are_tight_and_far_from_the_origin_are_told_apart():
    centers = 1e4 + torch.arange(32)[:, None] * torch.tensor([[0.25, 0.0]])
    points = centers.repeat(3, 1) + torch.tensor([0.0, 1 / 64])

    metrics = mode_coverage(points, centers, 0.01)

    assert (metrics.modes, metrics.high_quality, metrics.smallest_share) == (32, 1.0, 1.0)


def test_each_split_is_judged_by_points_of_its_own():
    data, drawn = GaussianRing(count=100), {}
    evaluator = Modes(data.facts["mode_centers"], data.facts["mode_deviation"], count=40)

    for split in ("dev", "test"):
        evaluator.evaluate(OneModeGenerator(), Examples(data, split, Compute(torch.device("cpu"))))
        drawn[split] = evaluator._points.clone()
        assert torch.equal(evaluator._real, data.split(split).columns["points"])
    assert torch.equal(drawn["test"], OneModeGenerator().generate(standard_normal(40, 3, 0, torch.device("cpu"))))
    evaluator.evaluate(OneModeGenerator(), Examples(data, "dev", Compute(torch.device("cpu"))))

    assert torch.equal(evaluator._points, drawn["dev"])
    assert not torch.isclose(drawn["dev"], drawn["test"]).all(1).any()


def test_a_stray_point_does_not_cover_a_mode():
    points = torch.cat([CENTERS[0].expand(99, 2), CENTERS[1][None]])

    assert mode_coverage(points, CENTERS, 0.1).modes == 1


def test_the_smallest_share_is_that_of_the_rarest_mode():
    points = torch.cat([CENTERS[0].expand(5, 2), CENTERS[1].expand(4, 2), CENTERS[2].expand(3, 2)])

    assert mode_coverage(points, CENTERS, 0.1).smallest_share == pytest.approx(3 * 3 / 12)


def test_a_generator_of_one_mode_is_recognized_and_an_animation_is_written(tmp_path):
    data = GaussianRing(count=100)
    evaluator = Modes(data.facts["mode_centers"], data.facts["mode_deviation"], count=400)

    metrics = evaluator.evaluate(OneModeGenerator(), Examples(data, "dev", Compute(torch.device("cpu"))))
    (item,) = evaluator.write(tmp_path)
    for step in (2, 10):
        items = evaluator.sample(tmp_path, step)

    assert metrics["modes"] == 1
    assert metrics["high_quality"] > 0.97
    assert item.file == "points.png"
    assert "1 of 8 modes are covered" in item.caption
    assert "orange: 10 real ones of dev" in item.caption
    assert [each.file for each in items] == ["training.gif", "step-00000010.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "points.png",
        "step-00000002.png",
        "step-00000010.png",
        "training.gif",
    ]
    assert Image.open(tmp_path / "training.gif").n_frames == 2
