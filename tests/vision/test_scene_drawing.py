from __future__ import annotations

import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_vision import scene_drawing
from dlpipe_vision.picture_distances import correlation, edges
from dlpipe_vision.scene_drawing import draw_scene


def scene(size: int, seed: int) -> torch.Tensor:
    return draw_scene(size, torch.Generator().manual_seed(seed))


def test_a_scene_has_pixels_from_0_to_1_and_follows_from_its_seed():
    found = scene(25, 3)

    assert found.shape == (3, 25, 25)
    assert found.min() >= 0
    assert found.max() <= 1
    assert_close(found, scene(25, 3), rtol=0, atol=0)
    assert (found - scene(25, 4)).abs().mean() > 0.05


def test_a_larger_picture_of_the_same_seed_is_the_same_scene(monkeypatch):
    monkeypatch.setattr(scene_drawing, "GRAIN", (0.0, 0.0))

    for seed in range(5):
        large = F.avg_pool2d(scene(48, seed)[None], 2)

        assert correlation(large, scene(24, seed)[None]) > 0.99


def test_grain_leaves_the_edges_and_gives_every_area_a_structure(monkeypatch):
    grained = torch.stack([scene(32, seed) for seed in range(8)])
    monkeypatch.setattr(scene_drawing, "GRAIN", (0.0, 0.0))
    smooth = torch.stack([scene(32, seed) for seed in range(8)])

    assert (edges(smooth) == 0).float().mean() > 0.05
    assert (edges(grained) == 0).float().mean() < 0.01
    assert correlation(edges(grained), edges(smooth)).mean() > 0.9
