"""Figures as PNG files: one style for all of them, and the only module that imports matplotlib.

Colors are those of Okabe & Ito 2008, "Color Universal Design", https://jfly.uni-koeln.de/color/: they can be
distinguished with red-green color blindness.

matplotlib's own font has no Chinese, Japanese or Korean characters, among others. They are drawn with an installed font
that has them; if there is none, their code points are drawn, never boxes that all look alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlpipe.messages import display_width

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = [
    "BLUE",
    "COLORS",
    "GREY",
    "ORANGE",
    "VERMILION",
    "drawing",
    "font_file",
    "missing_font",
    "shortened",
    "thinned",
]

#: Of the first curve, bar or line.
BLUE = "#0072B2"
#: Of what should stand out a little.
ORANGE = "#E69F00"
#: Of the second curve, and of what is wrong.
VERMILION = "#D55E00"
#: Of what is there for comparison.
GREY = "#777777"
#: For lines of the same kind, in this order.
COLORS = (BLUE, VERMILION, "#009E73", ORANGE, "#CC79A7", "#56B4E9", "#000000", GREY)
#: The entry of a PNG file with the comment of `drawing`.
COMMENT = "Comment"
DPI = 120
#: How many missing characters a message names.
MAX_NAMED = 5
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
def drawing(path: Path, width: float, height: float, *, comment: str = "") -> Iterator[Figure]:
    """Yield an empty figure to draw into, and save it afterwards.

    Args:
        path: of the PNG file.
        width: of the figure, in inches of 120 pixels.
        height: of the figure, in the same unit.
        comment: text to store in the file.
    """
    import matplotlib  # takes more than a second, and is needed only here
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        yield figure
        _write_powers_as_numbers(figure)
        _choose_fonts(figure)
        # Laid out here, since savefig() would draw the figure twice, once for its layout.
        FigureCanvasAgg(figure)
        if (engine := figure.get_layout_engine()) is not None:
            engine.execute(figure)
        figure.set_layout_engine("none")
        figure.savefig(path, metadata={COMMENT: comment} if comment else None)


def missing_font(texts: Iterable[str]) -> str | None:
    """Return a sentence that names the characters of texts that no installed font has, or None if all can be drawn.

    Say it before a run trains, of what its figures are going to show.
    """
    _, missing = _fonts_for(_beyond_ascii(texts))
    return _about(missing) if missing else None


def font_file(texts: Iterable[str]) -> str:
    """Return the file of an installed font that has the characters of texts, or most of them, for other libraries."""
    from matplotlib.font_manager import FontProperties, findfont

    fonts, _ = _fonts_for(_beyond_ascii(texts))
    return findfont(FontProperties(family=fonts[0] if fonts else None))


def shortened(name: str, length: int = 16) -> str:
    """Return a name truncated to the width of `length` letters; a Chinese character is as wide as two."""
    if display_width(name) <= length:
        return name
    while display_width(name) > length - 1:
        name = name[:-1]
    return name + "…"


def thinned(names: Sequence[str], most: int) -> dict[int, str]:
    """Return at most `most` names, evenly spaced, by index."""
    return {place: shortened(names[place]) for place in range(0, len(names), -(-len(names) // most))}


def _about(missing: Sequence[str]) -> str:
    more = f" and {len(missing) - MAX_NAMED} more characters" if len(missing) > MAX_NAMED else ""
    return (
        f"no installed font has {', '.join(missing[:MAX_NAMED])}{more}; figures show code points instead, such as "
        f"{_code_point(missing[0])}. Install a font that has them; for Chinese, Japanese and Korean Noto Sans CJK "
        '("apt install fonts-noto-cjk", or https://github.com/notofonts/noto-cjk)'
    )


def _code_point(character: str) -> str:
    return f"\\u{ord(character):04x}"


def _beyond_ascii(texts: Iterable[str]) -> str:
    """Return the visible characters of texts that are not ASCII, each once, sorted."""
    found = {character for text in texts if not text.isascii() for character in text}
    return "".join(sorted(character for character in found if not character.isascii() and display_width(character)))


def _axes_of(figure: Figure) -> list[Axis]:
    return [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]


def _write_powers_as_numbers(figure: Figure) -> None:
    """Let logarithmic axes show 0.1: 10⁻¹ would be a formula, and texts are shown literally."""
    from matplotlib.ticker import LogFormatter

    class Numbers(LogFormatter):
        """Labels the ticks that matplotlib chooses: with few powers of ten, also some between them."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    for axis in _axes_of(figure):
        if axis.get_scale() == "log":
            axis.set_major_formatter(Numbers())
            axis.set_minor_formatter(Numbers())


def _choose_fonts(figure: Figure) -> None:
    """Let the texts of a figure use fonts that have their characters, and show the code points of what none has."""
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    # What is a number has no such characters, and its labels take long to lay out.
    numbers = (ScalarFormatter, LogFormatter)
    named = [axis for axis in _axes_of(figure) if not isinstance(axis.get_major_formatter(), numbers)]
    names = {axis: [label.get_text() for label in axis.get_ticklabels()] for axis in named}
    texts = list(_texts_of(figure, named))
    fonts, missing = _fonts_for(_beyond_ascii(text.get_text() for text in texts))
    for text in texts if fonts else ():
        text.set_fontfamily([*text.get_fontfamily(), *fonts])
    if missing:
        table = {ord(character): _code_point(character) for character in missing}
        for axis, labels in names.items():
            if (escaped := [label.translate(table) for label in labels]) != labels:
                axis.set_ticks(axis.get_ticklocs(), escaped)
        for text in texts:
            text.set_text(text.get_text().translate(table))
        warnings.warn(_about(missing), stacklevel=2)


def _texts_of(artist: Artist, named: Collection[Axis]) -> Iterator[Text]:
    """Yield the texts in an artist, of the labels of ticks only those of axes that are named."""
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    if isinstance(artist, Text):
        yield artist
    if isinstance(artist, Axis) and artist not in named:
        # Asked for all its children, it would make ticks, also where they are never drawn.
        yield from (artist.label, artist.offsetText)
    else:
        for child in artist.get_children():
            yield from _texts_of(child, named)


@cache
def _fonts_for(characters: str) -> tuple[list[str], list[str]]:
    """Return the installed fonts that are needed for characters besides matplotlib's own, and what none of them has."""
    if not characters:
        return [], []
    from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager

    missing, fonts = _lacking(findfont(FontProperties()), characters), list[str]()
    if missing:  # matplotlib remembers the fonts that there were when it was first used
        for path in set(findSystemFonts()) - {font.fname for font in fontManager.ttflist}:
            with suppress(OSError, RuntimeError, ValueError):  # not a font that matplotlib can read
                fontManager.addfont(path)
    # The "last resort" has a box for every character.
    files = {font.name: font.fname for font in fontManager.ttflist if "last resort" not in font.name.lower()}
    while missing and files:
        lacking = {name: _lacking(file, missing) for name, file in sorted(files.items())}
        best = min(lacking, key=lambda name: len(lacking[name]))
        if len(lacking[best]) == len(missing):
            break
        fonts.append(best)
        missing = lacking[best]
    return fonts, missing


def _lacking(file: str, characters: Iterable[str]) -> list[str]:
    """Return the characters that a font lacks; all of them if it cannot be read."""
    from matplotlib.font_manager import get_font

    try:
        font = get_font(file)
    except (OSError, RuntimeError):
        return list(characters)
    return [character for character in characters if not font.get_char_index(ord(character))]
