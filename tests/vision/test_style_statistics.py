from __future__ import annotations

import torch
from torch.testing import assert_close

from dlpipe_vision.style_statistics import adaptive_instance_norm, channel_statistics, gram_matrix


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_statistics_are_those_of_each_channel_over_all_positions():
    maps = random_maps(2, 3, 5, 7)

    mean, std = channel_statistics(maps)

    assert_close(mean, maps.flatten(2).mean(2))
    assert_close(std, maps.flatten(2).std(2, correction=0), atol=1e-4, rtol=0)


def test_normalized_maps_have_the_statistics_of_the_style_and_keep_their_pattern():
    maps, style = random_maps(2, 3, 5, 7), 4 + 2 * random_maps(2, 3, 4, 6, seed=1)

    found = adaptive_instance_norm(maps, *channel_statistics(style))

    assert_close(found.mean((2, 3)), style.mean((2, 3)))
    assert_close(found.std((2, 3), correction=0), style.std((2, 3), correction=0), atol=1e-3, rtol=0)
    assert_close(torch.corrcoef(torch.stack([found[1, 2].flatten(), maps[1, 2].flatten()]))[0, 1], torch.tensor(1.0))


def test_maps_get_back_their_own_statistics():
    maps = random_maps(2, 3, 5, 7)

    assert_close(adaptive_instance_norm(maps, *channel_statistics(maps)), maps)


def test_constant_maps_give_finite_values_and_gradients():
    maps = torch.full((1, 2, 3, 4), 0.5, requires_grad=True)

    found = adaptive_instance_norm(maps, *channel_statistics(torch.ones(1, 2, 3, 4)))
    (gradient,) = torch.autograd.grad(found.sum() + channel_statistics(maps)[1].sum(), [maps])

    assert_close(found, torch.ones(1, 2, 3, 4))
    assert gradient.isfinite().all()


def test_a_gram_matrix_does_not_depend_on_where_or_how_often_a_pattern_is():
    maps = random_maps(2, 3, 4, 6)

    gram = gram_matrix(maps)

    assert_close(gram[1, 0, 2], (maps[1, 0] * maps[1, 2]).mean())
    assert_close(gram_matrix(maps.roll((1, 2), (2, 3))), gram)
    assert_close(gram_matrix(maps.repeat(1, 1, 2, 3)), gram)
