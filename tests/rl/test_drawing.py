"""Frames of CartPole and of the pendulum, which are drawn here."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from dlpipe_rl.drawing import draw_cart_pole, draw_pendulum, picture


def test_the_cart_is_on_its_track_and_the_pole_leans_where_its_angle_says():
    upright, leaning = (np.asarray(draw_cart_pole(1.2, angle)).astype(int) for angle in (0.0, 0.5))

    assert upright.shape == (150, 300, 3)  # the size of the films in the documentation
    cart = (upright == 0x22).all(2)
    assert [int(places.mean()) for places in cart.nonzero()] == [120, 225]
    poles = [np.argwhere(frame[:, :, 0] - frame[:, :, 2] > 150) for frame in (upright, leaning)]
    assert abs(poles[0][:, 1].mean() - 225) < 1
    assert poles[1][:, 1].mean() > 240
    assert poles[0][:, 0].min() < poles[1][:, 0].min()


def center(frame, color):
    """Return the mean column and row of the pixels of a color."""
    rows, columns = (np.asarray(frame) == color).all(2).nonzero()
    return columns.mean(), rows.mean()


@pytest.mark.parametrize(("angle", "x", "y"), [(0.0, 0, -1), (np.pi / 2, -1, 0), (np.pi, 0, 1), (-np.pi / 2, 1, 0)])
def test_the_pendulum_points_where_its_angle_says(angle, x, y):
    column, row = center(draw_pendulum(angle, 0.0), (0xD5, 0x5E, 0))

    assert column == pytest.approx(110 + 45 * x, abs=4)
    assert row == pytest.approx(100 + 45 * y, abs=4)


@pytest.mark.parametrize("torque", [-1.0, -0.5, 0.5, 1.0])
def test_the_bar_is_on_the_side_to_which_the_torque_turns(torque):
    column, _ = center(draw_pendulum(0.0, torque), (0, 0x72, 0xB2))

    assert column == pytest.approx(110 - 50 * torque, abs=2)


def test_the_frame_of_the_pendulum_is_that_of_its_state():
    with gym.make("Pendulum-v1") as env:
        env.reset(seed=0)
        first = picture(env)
        env.unwrapped.state = np.array([0.5, 0.0])
        env.step(np.array([2.0], np.float32))

        assert first == draw_pendulum(np.random.default_rng(0).uniform(-np.pi, np.pi), 0.0)
        assert picture(env) == draw_pendulum(env.unwrapped.state[0], 1.0)
