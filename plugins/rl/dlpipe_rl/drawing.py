"""Frames of environments.

CartPole and the pendulum are drawn here, because Gymnasium needs pygame for them; others render themselves.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv
from PIL import Image, ImageDraw

#: Smaller frames are enlarged by nearest-neighbor interpolation.
SMALL = 256
WIDTH, HEIGHT = 300, 150
SIDE = 220
CART, POLE, TRACK, AXLE = "#222222", "#D55E00", "#999999", "#0072B2"


def picture(env: gym.Env[Any, Any]) -> Image.Image | None:
    """Return the current frame of an environment, or None if it cannot be rendered."""
    inner = env.unwrapped
    if isinstance(inner, CartPoleEnv):
        return None if inner.state is None else draw_cart_pole(*inner.state[[0, 2]])
    if isinstance(inner, PendulumEnv):
        torque = float(inner.last_u or 0.0)  # None in the first frame
        return None if inner.state is None else draw_pendulum(inner.state[0], torque / inner.max_torque)
    if inner.render_mode != "rgb_array":
        return None
    try:
        image = Image.fromarray(np.asarray(env.render()))
    except gym.error.DependencyNotInstalled:  # such as pygame
        return None
    factor = -(-SMALL // min(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def draw_cart_pole(position: float, angle: float) -> Image.Image:
    """Draw a cart on its track, with the pole that it balances.

    Args:
        position: of the cart, from -2.4 to 2.4.
        angle: of the pole, in radians; 0 is upright, above 0 it leans to the right.
    """
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    x, y = WIDTH * (position / 4.8 + 0.5), HEIGHT * 0.8
    draw.line([(0, y + 10), (WIDTH, y + 10)], fill=TRACK, width=2)
    draw.rectangle([x - 20, y - 10, x + 20, y + 10], fill=CART)
    tip = (x + 90 * math.sin(angle), y - 90 * math.cos(angle))
    draw.line([(x, y - 8), tip], fill=POLE, width=7)
    draw.ellipse([x - 4, y - 12, x + 4, y - 4], fill=AXLE)
    return image


def draw_pendulum(angle: float, torque: float) -> Image.Image:
    """Draw a pendulum, and below it the torque as a bar to the side to which it turns an upright one.

    Args:
        angle: in radians; 0 is upright, above 0 it leans to the left.
        torque: from -1 to 1; above 0 it turns the pendulum counterclockwise.
    """
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    x, y, length = SIDE / 2, SIDE / 2 - 10, 85
    draw.line([(x, y), (x - length * math.sin(angle), y - length * math.cos(angle))], fill=POLE, width=11)
    draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=CART)
    end = x - torque * (x - 10)
    draw.rectangle([min(x, end), SIDE - 12, max(x, end), SIDE - 6], fill=AXLE)
    draw.line([(x, SIDE - 15), (x, SIDE - 3)], fill=TRACK, width=2)
    return image
