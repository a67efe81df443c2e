"""Draw color textures of ten kinds, of any size.

The elements of a texture have a size in pixels that does not depend on the size of the image: a larger image shows more
of the same texture, so a network that was trained on small images finds in it what it knows.
Axes: H rows, W columns, N neighboring cells, K waves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from dlpipe.errors import InputError
from dlpipe.messages import nearest, shown

#: Shortest and longest period of a texture, in pixels.
PERIODS = (8.0, 13.0)
#: Smallest distance of the two colors of a texture, of √3, the distance from black to white.
CONTRAST = 0.6
#: Pairs of colors of which the first with that contrast is taken.
TRIED_COLORS = 16
#: Random numbers of cells repeat after this many cells in both directions.
CELLS = 64
#: Number of waves whose sum is a cloud, and their lengths in periods.
CLOUD_WAVES, CLOUD_LENGTHS = 32, (0.7, 1.6)


class Plane:
    """The coordinates of the pixels of a texture, and what a pattern draws with them.

    Args:
        x: (H, W) coordinate across, in periods.
        y: (H, W) coordinate down, in periods.
        pixel: side of a pixel, in periods.
        generator: of the random numbers of the pattern.
    """

    def __init__(self, x: Tensor, y: Tensor, pixel: float, generator: torch.Generator) -> None:
        self.x, self.y, self._pixel, self._generator = x, y, pixel, generator

    def uniform(self, low: float, high: float) -> float:
        """Return a random number between two others."""
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def random(self, *shape: int) -> Tensor:
        """Return random numbers from 0 to 1."""
        return torch.rand(*shape, generator=self._generator)

    def inside(self, distance: Tensor) -> Tensor:
        """Return how much of each pixel is inside a shape, given its distance to the edge (H, W): above 0 is inside."""
        return (distance / self._pixel + 0.5).clamp(0, 1)


def stripes(plane: Plane) -> Tensor:
    """Draw straight stripes."""
    return plane.inside(plane.uniform(0.18, 0.32) - _to_integer(plane.x))


def waves(plane: Plane) -> Tensor:
    """Draw wavy stripes."""
    length = plane.uniform(1.6, 2.2)
    bent = plane.x + plane.uniform(0.4, 0.55) * torch.sin(plane.y * (2 * math.pi / length))
    return plane.inside(plane.uniform(0.18, 0.28) - _to_integer(bent))


def checks(plane: Plane) -> Tensor:
    """Draw a checkerboard with squares of half a period."""
    columns, rows = (2 * plane.inside(0.25 - _to_integer(axis)) - 1 for axis in (plane.x, plane.y))
    return (1 + columns * rows) / 2


def dots(plane: Plane) -> Tensor:
    """Draw discs on a square grid."""
    return plane.inside(plane.uniform(0.25, 0.36) - torch.hypot(_to_integer(plane.x), _to_integer(plane.y)))


def rings(plane: Plane) -> Tensor:
    """Draw circles on a square grid."""
    from_circle = torch.hypot(_to_integer(plane.x), _to_integer(plane.y)) - plane.uniform(0.34, 0.4)
    return plane.inside(plane.uniform(0.08, 0.11) - from_circle.abs())


def bricks(plane: Plane) -> Tensor:
    """Draw a wall of bricks, each of its own shade, a period wide and half as high, with joints between them."""
    row = (2 * plane.y).floor()
    across = plane.x + row / 2
    from_joint = torch.minimum(_to_integer(across), _to_integer(2 * plane.y) / 2)
    shade = _of_cells(plane.random(CELLS, CELLS), across.floor(), row)
    return plane.inside(from_joint - plane.uniform(0.05, 0.08)) * (0.55 + 0.45 * shade)


def scales(plane: Plane) -> Tensor:
    """Draw rows of overlapping discs, as the scales of a fish, each shaded towards its rim."""
    nearest_row = (2 * plane.y).floor()
    radius = plane.uniform(0.54, 0.62)
    covered, drawn = torch.zeros_like(plane.x), torch.zeros_like(plane.x)
    for down in range(2, -3, -1):  # each row of discs covers those above it
        row = nearest_row + down
        distance = torch.hypot(_to_integer(plane.x + row / 2), plane.y - row / 2)
        seen = plane.inside(radius - distance) * (1 - covered)
        drawn = drawn + seen * (1 - (distance / radius) ** 3).clamp(min=0)
        covered = covered + seen
    return drawn


def weave(plane: Plane) -> Tensor:
    """Draw bands that pass over and under each other, each shaded towards its edges."""
    upright_is_above = (plane.x.floor() + plane.y.floor()) % 2 == 0
    width = plane.uniform(0.38, 0.44)
    upright, level = ((axis - axis.floor() - 0.5).abs() for axis in (plane.x, plane.y))
    above, below = torch.where(upright_is_above, upright, level), torch.where(upright_is_above, level, upright)
    seen = plane.inside(width - above)
    shaded = (1 - (torch.stack([above, below]) / width) ** 2).clamp(min=0).sqrt()
    return seen * (0.4 + 0.6 * shaded[0]) + (1 - seen) * 0.6 * shaded[1]


def clouds(plane: Plane) -> Tensor:
    """Draw noise with a band of wavelengths, in all directions."""
    numbers = plane.random(3, CLOUD_WAVES, 1, 1)
    shortest, longest = CLOUD_LENGTHS
    frequency = 2 * math.pi / (shortest + (longest - shortest) * numbers[0])
    angle, phase = 2 * math.pi * numbers[1], 2 * math.pi * numbers[2]
    waves = torch.cos(frequency * (angle.cos() * plane.x + angle.sin() * plane.y) + phase)
    return torch.sigmoid(waves.sum(0) * (2.5 / math.sqrt(CLOUD_WAVES / 2)))


def cells(plane: Plane) -> Tensor:
    """Draw the cells around random points (Voronoi), each of its own shade, with cracks between them."""
    offsets = torch.tensor([(right, down) for right in range(-2, 3) for down in range(-2, 3)])[:, :, None, None]
    column, row = plane.x.floor() + offsets[:, 0], plane.y.floor() + offsets[:, 1]  # (N, H, W)
    across, down, shades = plane.random(3, CELLS, CELLS)
    distance = torch.hypot(
        column + _of_cells(across, column, row) - plane.x, row + _of_cells(down, column, row) - plane.y
    )
    (nearest_, second), numbers = distance.topk(2, dim=0, largest=False)
    shade = _of_cells(shades, column, row).gather(0, numbers[:1])[0]
    return plane.inside((second - nearest_) / 2 - plane.uniform(0.04, 0.07)) * (0.4 + 0.6 * shade)


#: What draws each kind: maps a plane to the share of the second color in each pixel (H, W).
TEXTURES: Mapping[str, Callable[[Plane], Tensor]] = MappingProxyType(
    {
        "stripes": stripes,
        "waves": waves,
        "checks": checks,
        "dots": dots,
        "rings": rings,
        "bricks": bricks,
        "scales": scales,
        "weave": weave,
        "clouds": clouds,
        "cells": cells,
    }
)


def draw_texture(kind: str, size: int, generator: torch.Generator) -> Tensor:
    """Draw a texture (3, size, size) with pixels from 0 to 1.

    Its two colors, its period, orientation and position are random and do not depend on its kind.

    Args:
        kind: one of `TEXTURES`.
        size: H and W.
        generator: of all random numbers, on the CPU; equal states give equal textures.

    Raises:
        InputError: there is no such kind.
    """
    if kind not in TEXTURES:
        raise InputError(f'kind = "{kind}": expected one of {shown(list(TEXTURES))}.{nearest(kind, TEXTURES)}')
    colors = _colors(generator)
    where, turn, right, down = torch.rand(4, generator=generator).tolist()
    period = PERIODS[0] + (PERIODS[1] - PERIODS[0]) * where
    rows, columns = torch.meshgrid(*[torch.arange(size) / period] * 2, indexing="ij")
    cosine, sine = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    x, y = cosine * columns - sine * rows + CELLS * right, sine * columns + cosine * rows + CELLS * down
    share = TEXTURES[kind](Plane(x, y, 1 / period, generator))
    return colors[0][:, None, None].lerp(colors[1][:, None, None], share)


def _colors(generator: torch.Generator) -> Tensor:
    """Return two colors (2, 3): the first pair with enough contrast, or the one with most."""
    pairs = torch.rand(TRIED_COLORS, 2, 3, generator=generator)
    contrast = (pairs[:, 0] - pairs[:, 1]).norm(dim=1).clamp(max=CONTRAST)
    return pairs[contrast.argmax()]


def _to_integer(numbers: Tensor) -> Tensor:
    """Return the distance of numbers to the next integer, from 0 to 0.5."""
    return (numbers - numbers.round()).abs()


def _of_cells(values: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Return the value of each cell of a grid that repeats `values` (CELLS, CELLS)."""
    return values[column.long() % CELLS, row.long() % CELLS]
