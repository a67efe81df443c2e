import pytest
import torch
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_generative.gaussian_ring import GaussianRing


def test_points_are_spread_evenly_over_modes_on_a_circle():
    data = GaussianRing(modes=5, radius=3.0, deviation=0.1, count=5000)
    points = data.split("train").columns["points"]
    centers = torch.tensor(data.facts["mode_centers"])

    nearest = torch.cdist(points, centers).argmin(1)
    offsets = points - centers[nearest]

    assert_close(centers.norm(dim=1), torch.full((5,), 3.0))
    assert nearest.bincount().tolist() == [1000] * 5
    assert_close(offsets.std(0), torch.full((2,), 0.1), atol=0.005, rtol=0)


def test_the_points_are_those_of_the_published_measurements():
    points = GaussianRing().split("test").columns["points"]

    assert_close(points[:3], torch.tensor([[2.0351, 0.0236], [1.4112, 1.4096], [-0.01, 2.0084]]), rtol=1e-4, atol=1e-4)


def test_points_depend_on_the_seed_and_the_split():
    data = GaussianRing(count=50)

    assert data.splits == ("train", "dev", "test")
    assert [len(data.split(split)) for split in data.splits] == [50, 5, 5]
    assert torch.equal(data.split("dev").columns["points"], GaussianRing(count=50).split("dev").columns["points"])
    assert not torch.equal(data.split("dev").columns["points"], data.split("test").columns["points"])
    assert GaussianRing(seed=1).fingerprint() != data.fingerprint() == GaussianRing(count=50).fingerprint()


def test_a_point_is_parsed():
    assert_close(GaussianRing().encode("0.5, -2")["points"], torch.tensor([0.5, -2.0]))
    with pytest.raises(InputError, match='"left": expected a point, two numbers such as "0.5 2"'):
        GaussianRing().encode("left")
