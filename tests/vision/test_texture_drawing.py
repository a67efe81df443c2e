"""Textures: their structure is that of their kind, their colors are not."""

import pytest
import torch
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_vision.texture_drawing import CONTRAST, TEXTURES, Plane, draw_texture


def drawn(kind, size=24, seed=1):
    return draw_texture(kind, size, torch.Generator().manual_seed(seed))


def pattern(kind, size, seed=3):
    """Return the share of the second color (H, W) of two periods of a texture that is not rotated."""
    down, across = torch.meshgrid(*[torch.arange(size) * (2 / size)] * 2, indexing="ij")
    return TEXTURES[kind](Plane(across, down, 2 / size, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("kind", TEXTURES)
@pytest.mark.parametrize("size", [1, 13])
def test_a_texture_has_three_channels_of_pixels_from_0_to_1(kind, size):
    texture = drawn(kind, size)

    assert texture.shape == (3, size, size)
    assert texture.dtype == torch.float32
    assert texture.min() >= 0
    assert texture.max() <= 1


@pytest.mark.parametrize("kind", TEXTURES)
def test_a_texture_follows_from_the_state_of_the_generator(kind):
    before = torch.get_rng_state()

    assert drawn(kind).equal(drawn(kind))
    assert not drawn(kind).equal(drawn(kind, seed=2))
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("kind", TEXTURES)
def test_a_larger_texture_shows_more_of_the_same(kind):
    assert_close(drawn(kind, 40)[:, :11, :11], drawn(kind, 11))


@pytest.mark.parametrize("kind", TEXTURES)
def test_pixels_are_mixtures_of_two_colors_that_do_not_depend_on_the_kind(kind):
    first, second = (drawn("stripes").flatten(1).T[pixel] for pixel in _extremes(drawn("stripes")[0]))
    pixels = drawn(kind).flatten(1).T

    share = (pixels - first) @ (second - first) / (second - first).square().sum()
    assert_close(first + share[:, None] * (second - first), pixels)
    assert share.min() >= -1e-5
    assert share.max() <= 1 + 1e-5
    assert (second - first).norm() >= CONTRAST


def _extremes(channel):
    return channel.argmin(), channel.argmax()


def test_stripes_are_constant_along_one_axis():
    assert (pattern("stripes", 40).std(0) < 1e-6).all()
    assert pattern("stripes", 40).std(1).min() > 0.1


def test_waves_are_stripes_that_bend():
    assert pattern("waves", 40).std(0).min() > 0.1


def test_half_of_a_checkerboard_has_each_color_and_neighboring_squares_differ():
    squares = pattern("checks", 40)

    assert squares.mean() == pytest.approx(0.5, abs=0.02)
    assert_close(squares.roll(10, 0), 1 - squares, atol=0.02, rtol=0)


@pytest.mark.parametrize(("kind", "center", "rim"), [("dots", 1, 1), ("rings", 0, 1)])
def test_the_center_of_a_disc_is_filled_and_that_of_a_ring_is_not(kind, center, rim):
    shape = pattern(kind, 80)

    assert shape[40, 40] == center
    assert shape[40, 40:60].max() == rim  # to the middle of two centers
    assert shape[60, 60] == 0  # in the middle of four centers


def test_joints_of_bricks_are_offset_in_every_other_row():
    joints = pattern("bricks", 80) == 0

    assert joints[0].all()  # between two rows
    assert joints[10, [0, 40]].all()
    assert joints[30, [20, 60]].all()
    assert not joints[10, [20, 60]].any()


def test_scales_fade_from_the_center_to_the_rim():
    scale = pattern("scales", 80)

    assert scale.max() > 0.99
    assert (scale > 0.02).float().mean() > 0.95  # they cover the plane


def test_each_band_of_a_weave_passes_over_and_under_the_others():
    bands = pattern("weave", 80)

    assert bands[20, 20] == pytest.approx(1, abs=0.01)
    assert_close(bands, bands.roll(40, 0).T, atol=1e-4, rtol=0)


def test_clouds_have_no_edges():
    clouds = pattern("clouds", 80)

    assert clouds.diff(dim=0).abs().max() < 0.15
    assert clouds.std() > 0.1


def test_cells_have_their_own_shades_and_cracks_between_them():
    cells = pattern("cells", 80)

    assert cells.min() == 0
    shades, pixels = cells[cells > 0].unique(return_counts=True)
    assert 4 <= (pixels > 40).sum() <= 12
    assert shades[pixels > 40].min() >= 0.4


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match=r'kind = "dot": expected one of .*"waves".* Did you mean "dots"\?'):
        drawn("dot")
