"""An HTML page in one file: it needs neither a server nor a network, and runs no script but its own.

Charts are drawn by BokehJS, of the installed package bokeh, from numbers in the page. All text is escaped, and a
content security policy forbids every request and every script but these.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import mimetypes
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from dlpipe.figures import COLORS
from dlpipe.messages import shown_size
from dlpipe.report_items import Kind

#: Bytes of pictures and sounds that a page holds; the rest is left as a link to its file.
MEDIA_BYTES = 2_400_000
#: Points of a series that are drawn.
MAX_POINTS = 1000
#: The packages of the extra `report` that a page needs.
PACKAGES = ("jinja2", "bokeh")
_HERE = Path(__file__).parent
_NUMBER = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?%?")
_SCRIPTS = ("bokeh.min.js", "bokeh-api.min.js")


@dataclass(frozen=True)
class Series:
    """Points of a chart.

    Args:
        x, y: of each point; NaN interrupts a line.
        style: how they are drawn.
        color: index into the colors of `dlpipe.figures`; by default, the place of the series in its chart.
    """

    name: str
    x: Sequence[float | str]
    y: Sequence[float]
    style: Literal["line", "dashed", "points", "bars"] = "line"
    color: int | None = None


@dataclass(frozen=True)
class Chart:
    """Curves that can be zoomed.

    Args:
        log_y: whether the vertical axis is logarithmic.
        ticks: names for the whole numbers on the horizontal axis, from 0.
    """

    title: str
    series: Sequence[Series]
    x_label: str = "step"
    y_label: str = ""
    caption: str = ""
    log_y: bool = False
    ticks: Sequence[str] = ()
    kind: Literal["chart"] = field(default="chart", init=False)


@dataclass(frozen=True)
class Table:
    """A table of texts and numbers.

    Args:
        columns: none if there are only sentences.
        left_out: how many rows are not shown.
        file: where all of them are, relative to the page.
        lead: sentences above the table, each a paragraph.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    left_out: int = 0
    file: str = ""
    lead: Sequence[str] = ()
    kind: Literal["table"] = field(default="table", init=False)


@dataclass(frozen=True)
class Media:
    """A picture, an animation, a sound, or several of them in a row.

    Args:
        files: label and path of each.
    """

    title: str
    files: Sequence[tuple[str, Path]]
    kind: Kind
    caption: str = ""


@dataclass(frozen=True)
class Text:
    """A text as it is, with its line breaks.

    Args:
        wrap: whether long lines are wrapped; not where columns are aligned.
    """

    title: str
    text: str
    caption: str = ""
    wrap: bool = True
    kind: Literal["text"] = field(default="text", init=False)


@dataclass(frozen=True)
class Page:
    """A page of its own inside the page, without scripts."""

    title: str
    path: Path
    caption: str = ""
    kind: Literal["page"] = field(default="page", init=False)


Block = Chart | Table | Media | Text | Page


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Args:
        folded: whether it is to be opened by hand.
    """

    title: str
    blocks: Sequence[Block]
    folded: bool = False


def missing_packages() -> list[str]:
    """Return the packages that are needed for a page and not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def render_page(path: Path, title: str, verdict: str, sections: Sequence[Section], *, state: str = "") -> None:
    """Write a page, atomically.

    Args:
        path: of the page; links in it are relative to its folder.
        verdict: the result in a sentence or two.
        state: such as "finished", shown next to the title.

    Raises:
        OSError: it cannot be written.
    """
    left = _Budget(path.parent)
    sections = [section for section in sections if section.blocks]
    scripts = [*(_bokeh(name) for name in _SCRIPTS), _own("page.js")]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    charts = [_chart(block) for section in sections for block in section.blocks if isinstance(block, Chart)]
    html = _template().render(
        title=title,
        verdict=verdict,
        state=state,
        sections=sections,
        style=_own("page.css"),
        scripts=scripts if charts else [],
        hashes=hashes if charts else "'none'",
        charts=json.dumps(charts).replace("<", "\\u003c"),
        embedded=left.embedded,
        included=left.included,
        numeric=lambda cell: bool(_NUMBER.fullmatch(str(cell))),
    )
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(html, encoding="utf-8", errors="backslashreplace")
    temporary.replace(path)


class _Budget:
    """Embeds files until the page is full."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._left = folder, MEDIA_BYTES

    def embedded(self, path: Path) -> dict[str, str]:
        """Return the ``data`` of a file as a URI, or the ``link`` to it and its ``size`` if it does not fit."""
        if content := self._content(path):
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            return {"data": f"data:{kind};base64,{base64.b64encode(content).decode()}"}
        return self._link(path)

    def included(self, path: Path) -> dict[str, str]:
        """Return the ``text`` of a file, or the ``link`` to it as `embedded` does."""
        if content := self._content(path):
            return {"text": content.decode("utf-8", errors="replace")}
        return self._link(path)

    def _content(self, path: Path) -> bytes | None:
        size = path.stat().st_size
        if size > self._left:
            return None
        self._left -= size
        return path.read_bytes()

    def _link(self, path: Path) -> dict[str, str]:
        link = Path(os.path.relpath(path, self._folder)).as_posix()
        return {"link": link, "size": shown_size(path.stat().st_size)}


def _chart(chart: Chart) -> dict[str, Any]:
    """Return what the script of the page needs to draw a chart, JSON-serializable."""
    return {
        "title": chart.title,
        "x_label": chart.x_label,
        "y_label": chart.y_label,
        "log_y": chart.log_y,
        "ticks": list(chart.ticks),
        "colors": COLORS,
        "series": [
            {
                "name": series.name,
                "style": series.style,
                "color": place if series.color is None else series.color,
                "x": list(series.x),
                "y": [value if math.isfinite(value) else None for value in series.y],
            }
            for place, series in enumerate(chart.series)
        ],
    }


def thinned(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return at most `MAX_POINTS` points: of each stretch of the curve its first, its lowest and its highest.

    A curve that is short enough is returned as it is.
    """
    if len(x) <= MAX_POINTS:
        return list(x), list(y)
    width = math.ceil(len(x) * 3 / MAX_POINTS)
    kept = set[int]()
    for first in range(0, len(x), width):
        stretch = range(first, min(first + width, len(x)))
        known = [place for place in stretch if math.isfinite(y[place])] or [first]
        kept |= {first, min(known, key=lambda place: y[place]), max(known, key=lambda place: y[place])}
    places = sorted(kept | {len(x) - 1})
    return [x[place] for place in places], [y[place] for place in places]


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _bokeh(name: str) -> str:
    """Return a script of the installed package bokeh, without importing the package."""
    spec = find_spec("bokeh")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "server" / "static" / "js" / name).read_text(encoding="utf-8")


@cache
def _own(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined  # belongs to the extra `report`

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_own("page.html"))
