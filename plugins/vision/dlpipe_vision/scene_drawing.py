"""Draw landscapes with clear edges: a sky with sun and clouds, hills, houses and trees, and grain as in photographs.

Positions are fractions of the side of the picture; (0, 0) is its upper left corner, and y grows downwards.
Axes: H rows, W columns of the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

#: Scenes are drawn larger by this factor and then reduced, so that edges are smooth.
OVERSAMPLING = 3
#: Standard deviations of the grain, of single pixels and of blocks of two by two. Without any, areas of one color would
#: have no structure at all, which photographs always have, and to which a style could be applied.
GRAIN = (0.02, 0.02)


def draw_scene(size: int, generator: torch.Generator) -> Tensor:
    """Return a random scene (3, size, size) of pixels from 0 to 1."""
    scene = _Scene(size * OVERSAMPLING, generator)
    scene.sky()
    horizon = scene.hills()
    for _ in range(scene.one_of(4)):
        scene.tree(horizon)
    for _ in range(1 + scene.one_of(3)):
        scene.house(horizon)
    smooth = F.avg_pool2d(scene.pixels[None], OVERSAMPLING)[0]
    return (smooth + _grain(size, generator)).clamp(0, 1)


def _grain(size: int, generator: torch.Generator) -> Tensor:
    """Return changes of brightness (1, size, size)."""
    fine = torch.randn(1, size, size, generator=generator)
    coarse = torch.randn(1, -(-size // 2), -(-size // 2), generator=generator)
    doubled = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :size, :size]
    return GRAIN[0] * fine + GRAIN[1] * doubled


class _Scene:
    """A scene that is being drawn; each shape covers what is behind it.

    Attributes:
        pixels: (3, H, W) from 0 to 1.
    """

    def __init__(self, side: int, generator: torch.Generator) -> None:
        self._generator = generator
        axis = (torch.arange(side) + 0.5) / side
        self._x, self._y = axis[None, :], axis[:, None]
        self.pixels = torch.zeros(3, side, side)

    def one_of(self, count: int) -> int:
        """Return a random whole number from 0 to `count` - 1."""
        return int(torch.randint(count, (1,), generator=self._generator))

    def sky(self) -> None:
        """Draw a vertical gradient, a sun or moon, and clouds."""
        above, below = self._color(0.2, 0.8), self._color(0.6, 1.0)
        self.pixels = (above + (below - above) * self._y).expand_as(self.pixels).clone()
        x, y, radius = self._between(0.1, 0.9), self._between(0.1, 0.3), self._between(0.06, 0.12)
        self._fill(self._ellipse(x, y, radius, radius), self._color(0.8, 1.0))
        for _ in range(self.one_of(3)):
            x, y = self._between(0.0, 1.0), self._between(0.08, 0.35)
            wide, high = self._between(0.12, 0.25), self._between(0.03, 0.06)
            self._fill(self._ellipse(x, y, wide, high), self._color(0.85, 1.0))

    def hills(self) -> float:
        """Draw two or three chains of hills, each lower than the one behind; return the height of the last."""
        height = 0.0
        for height in (0.45, 0.6, 0.75)[self.one_of(2) :]:
            height += self._between(-0.05, 0.05)
            line = height + self._between(0.03, 0.09) * torch.sin(
                self._between(3.0, 9.0) * self._x + self._between(0.0, 6.3)
            )
            self._fill(self._y > line, self._color(0.1, 0.7))
        return height

    def tree(self, horizon: float) -> None:
        """Draw a trunk and a round or pointed crown."""
        x, foot = self._between(0.05, 0.95), self._between(horizon, 0.95)
        tall = self._between(0.15, 0.3)
        trunk = ((self._x - x).abs() < 0.018) & (self._y < foot) & (self._y > foot - tall)
        self._fill(trunk, self._color(0.1, 0.4))
        wide, top = self._between(0.06, 0.11), foot - tall
        pointed = ((self._x - x).abs() < (self._y - top + 0.12) * 0.45) & (self._y < top + 0.1)
        crown = self._ellipse(x, top, wide, wide * 1.2) if self.one_of(2) else pointed & (self._y > top - 0.12)
        self._fill(crown, self._color(0.1, 0.6))

    def house(self, horizon: float) -> None:
        """Draw a wall with a roof, a door and a window."""
        x, foot = self._between(0.1, 0.9), self._between(horizon + 0.05, 0.97)
        half, high = self._between(0.08, 0.14), self._between(0.12, 0.2)
        eaves = foot - high
        self._fill(self._rectangle(x, half, eaves, foot), self._color(0.5, 1.0))
        roof = ((self._x - x).abs() < (self._y - eaves + half) * 1.2) & (self._y < eaves)
        self._fill(roof, self._color(0.1, 0.6))
        self._fill(self._rectangle(x - half * 0.45, half * 0.22, foot - high * 0.6, foot), self._color(0.0, 0.4))
        middle = foot - high * 0.55
        self._fill(self._rectangle(x + half * 0.4, half * 0.28, middle - 0.03, middle + 0.03), self._color(0.0, 1.0))

    def _between(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=self._generator))

    def _color(self, low: float, high: float) -> Tensor:
        """Return a random color (3, 1, 1) with channels in a range."""
        return low + (high - low) * torch.rand(3, 1, 1, generator=self._generator)

    def _ellipse(self, x: float, y: float, wide: float, high: float) -> Tensor:
        return ((self._x - x) / wide) ** 2 + ((self._y - y) / high) ** 2 < 1

    def _rectangle(self, x: float, half: float, top: float, foot: float) -> Tensor:
        return ((self._x - x).abs() < half) & (self._y > top) & (self._y < foot)

    def _fill(self, mask: Tensor, color: Tensor) -> None:
        """Paint a mask (H, W) in a color (3, 1, 1)."""
        self.pixels = torch.where(mask, color, self.pixels)
