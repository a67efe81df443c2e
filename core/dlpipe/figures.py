"""Figures as PNG files: one style for all of them, and the only module that imports matplotlib.

Colours are those of Okabe & Ito 2008, "Color Universal Design", https://jfly.uni-koeln.de/color/: they can be
distinguished with red-green colour blindness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "COLOURS",
    "GREY",
    "ORANGE",
    "VERMILION",
    "drawing",
    "shortened",
    "thinned",
]

BLUE, ORANGE, VERMILION, GREY = "#0072B2", "#E69F00", "#D55E00", "#777777"
#: For lines of the same kind, in this order.
COLOURS = (BLUE, VERMILION, "#009E73", ORANGE, "#CC79A7", "#56B4E9", "#000000", GREY)
DPI = 120
#: Names are shown literally: a "$" does not start a formula.
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
    "text.usetex": False,
    "image.interpolation": "nearest",
}


@contextmanager
def drawing(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure to draw into, and save it afterwards.

    Args:
        path: of the PNG file.
        width: of the figure, in inches of 120 pixels.
        height: of the figure, in the same unit.
    """
    import matplotlib  # takes more than a second, and is needed only here
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        figure.savefig(path, dpi=DPI)


def shortened(name: str, length: int = 16) -> str:
    """Return a name truncated to `length` characters."""
    return name if len(name) <= length else name[: length - 1] + "…"


def thinned(names: Sequence[str], most: int) -> dict[int, str]:
    """Return at most `most` names, evenly spaced, by index."""
    return {place: shortened(names[place]) for place in range(0, len(names), -(-len(names) // most))}
