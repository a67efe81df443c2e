"""Frames of CartPole, which are drawn here."""

from __future__ import annotations

import numpy as np

from dlpipe_rl.drawing import draw_cart_pole


def test_the_cart_is_on_its_track_and_the_pole_leans_where_its_angle_says():
    upright, leaning = (np.asarray(draw_cart_pole(1.2, angle)).astype(int) for angle in (0.0, 0.5))

    assert upright.shape == (150, 300, 3)  # the size of the films in the documentation
    cart = (upright == 0x22).all(2)
    assert [int(places.mean()) for places in cart.nonzero()] == [120, 225]
    poles = [np.argwhere(frame[:, :, 0] - frame[:, :, 2] > 150) for frame in (upright, leaning)]
    assert abs(poles[0][:, 1].mean() - 225) < 1
    assert poles[1][:, 1].mean() > 240
    assert poles[0][:, 0].min() < poles[1][:, 0].min()
