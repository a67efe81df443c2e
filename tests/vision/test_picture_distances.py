from __future__ import annotations

import numpy as np
import torch
from torch.testing import assert_close

from dlpipe_vision.feature_layers import FeatureLayers
from dlpipe_vision.picture_distances import (
    Seen,
    compared_styles,
    content_distance,
    correlation,
    edges,
    seen_in,
    style_distances,
)
from dlpipe_vision.style_statistics import gram_matrix

from .test_feature_layers import SHAPE, network


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_judge_sees_gram_matrices_of_all_layers_and_maps_of_the_last(monkeypatch):
    monkeypatch.setattr("dlpipe_vision.picture_distances.BATCH", 2)
    judge, images = FeatureLayers(network(), ["layers.0", "layers.2"], SHAPE, option="x"), random_images(5, *SHAPE)

    seen = seen_in(images, judge)

    maps = judge(images)
    assert_close(seen.maps, maps["layers.2"])
    assert_close(list(seen.grams), [gram_matrix(each) for each in maps.values()])
    assert not seen.maps.requires_grad


def test_distances_of_a_layer_are_relative_to_its_size():
    grams = random_images(4, 2, 2)
    seen, styles = (Seen([each, 10 * each], each[..., None]) for each in (grams, grams.flip(0)))
    rows = torch.tensor([[3, 0], [2, 1], [1, 1], [0, 3]])

    found = style_distances(seen, styles, rows)

    size = grams.square().sum((1, 2)).mean()
    expected = [[2 * (grams[n] - grams.flip(0)[row]).square().sum() / size for row in rows[n]] for n in range(4)]
    assert_close(found, torch.tensor(expected))
    assert (found[:, 0] == 0).all()


def test_a_style_is_compared_with_itself_and_different_ones():
    styles = random_images(7, 3, 4, 5)
    styles[4], styles[6] = styles[1], styles[1]

    rows = compared_styles(styles, 4)

    assert rows.shape == (7, 4)
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 1, 5, 1]
    assert all(len(set(row)) == 4 and set(row) <= {0, 1, 2, 3, 5} for row in rows.tolist())
    assert compared_styles(styles, 10).shape == (7, 5)
    assert compared_styles(styles[:1], 10).tolist() == [[0]]
    assert compared_styles(styles, 4).equal(rows)


def test_the_content_distance_is_0_for_the_content_and_1_for_the_style():
    content, style = (Seen([], random_images(3, 2, 4, 5, seed=seed)) for seed in (1, 2))

    assert_close(content_distance(content, content, style), torch.zeros(3))
    assert_close(content_distance(style, content, style), torch.ones(3))
    assert content_distance(style, content, content).isfinite().all()


def test_edges_are_where_brightness_changes():
    images = torch.zeros(1, 3, 6, 9)
    images[:, :, :, 4:] = 1.0

    found = edges(images)

    assert found.shape == (1, 4, 7)
    assert_close(found[0, 2], torch.tensor([0.0, 0.0, 4.0, 4.0, 0.0, 0.0, 0.0]))
    assert_close(edges(images.transpose(2, 3)), found.transpose(1, 2))


def test_the_correlation_is_that_of_numpy():
    values, others = random_images(2, 4, 5), random_images(2, 4, 5, seed=1)

    expected = [np.corrcoef(values[n].flatten(), others[n].flatten())[0, 1] for n in range(2)]
    assert_close(correlation(values, others), torch.tensor(expected, dtype=torch.float32))
    assert_close(correlation(values, 3 * values + 1), torch.ones(2))
    assert_close(correlation(values, torch.ones(2, 4, 5)), torch.zeros(2))
