"""Parts of messages: the nearest known name, a value as in a TOML file, a short path, columns of text."""

from __future__ import annotations

import datetime
import importlib
import json
import math
import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "Weighted",
    "counted",
    "display_width",
    "nearest",
    "other_separator",
    "padded",
    "printable",
    "relative",
    "shown",
]

#: The fraction of a name's letters that may be wrong: one in three.
MAX_WRONG = 1 / 3
#: A message shows at most this many characters of a value.
MAX_SHOWN = 60
#: What a terminal obeys instead of showing it: control characters except tab and newline, marks that reverse the
#: direction of writing, separators of lines. Halves of characters stand for bytes of a file name that is not UTF-8.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: Where a spreadsheet would see the start of a formula, which could send data away: at the start of a cell, or after
#: what separates cells in some countries. Source: OWASP, "CSV Injection",
#: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile(r"^(?=[=+\-@\t\r\n＝＋－＠])|(?<=[;\t\r\n])(?=[=+\-@＝＋－＠])")
#: What separates the columns of tables.
_SEPARATORS = (";", "\t", "|", ",")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean "x"?`` for the known name that `name` was probably meant to be, or an empty string.

    Names are compared by the number of letters that are inserted, deleted, replaced or swapped with their neighbor
    (the optimal string alignment distance); upper and lower case are the same. Of equally near names the first wins:
    list common names first. If none is near, the first name that starts with `name` is suggested, else the first one
    whose words it has, or that has its words (``num_epochs`` and ``epochs``).
    """
    osa = importlib.import_module("rapidfuzz.distance").OSA  # takes longer than all of this module; few mistype a name
    known = list(known)
    distances = {other: osa.distance(name.casefold(), other.casefold()) for other in known}
    near = [other for other in known if distances[other] <= MAX_WRONG * max(len(name), len(other))]
    near.sort(key=lambda other: distances[other])  # the sort is stable
    near = near or [other for other in known if len(name) > 2 and other.startswith(name)]
    words = set(name.casefold().split("_"))
    near = near or [other for other in known if words <= (own := set(other.casefold().split("_"))) or own <= words]
    return f' Did you mean "{near[0]}"?' if near else ""


def other_separator(header: Sequence[str], advice: str) -> str:
    """Return the question whether a table whose header was read as one name has another separator, or an empty string.

    Args:
        advice: what to do then.
    """
    sign = next((sign for sign in _SEPARATORS if len(header) == 1 and sign in header[0]), "")
    return f" Is the table separated by {shown(sign)}? Then {advice}" if sign else ""


def shown(value: Any) -> str:
    """Return a value as a TOML file would show it, truncated if it is long."""
    try:
        text = _shown(value)
    except RecursionError:  # lists in lists of an item of JSON
        text = f"a {type(value).__name__} that is nested too deeply"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "…"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_shown(str(key))}: {_shown(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return json.dumps(value, ensure_ascii=False, default=str)


def shown_size(count: float) -> str:
    """Return a number of bytes for a person."""
    for unit, digits in (("B", 0), ("kB", 0), ("MB", 1)):
        if count < 1000:
            return f"{count:.{digits}f}".removesuffix(".0") + f" {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def shown_number(value: float, *, like: float | None = None, sign: str = "") -> str:
    """Return a score or a difference for a person: with four decimals, or three digits if it is small or large.

    Args:
        like: a number that decides instead, such as the mean for a standard deviation.
        sign: "+" for a sign of positive numbers, too.
    """
    size = abs(value if like is None else like)
    return f"{value:{sign}.4f}" if size == 0 or 1e-3 <= size < 1e4 else f"{value:{sign}.3g}"


def shown_seconds(seconds: float) -> str:
    """Return a time for a person, with the unit that suits it."""
    if seconds < 60:
        unit, factor = next(
            each for each in (("s", 1), ("ms", 1e3), ("µs", 1e6)) if seconds * each[1] >= 1 or each[1] == 1e6
        )
        return f"{seconds * factor:.3g} {unit}"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.3g} min" if minutes < 60 else f"{hours:.3g} h"


def relative(path: Path) -> str:
    """Return `path` relative to the working directory if that is shorter."""
    try:
        short = os.path.relpath(path)
    except FileNotFoundError:  # the working directory has been removed
        return str(path)
    return short if len(short) < len(str(path)) else str(path)


def shell_path(path: Path) -> str:
    """Return a path as a command line takes it: from the current folder if that is shorter, quoted if need be."""
    return shlex.quote(relative(path))


def spreadsheet_safe(cell: object) -> object:
    """Return a cell of a table; a text that a spreadsheet would take for a formula gets a ``'`` in front."""
    is_text = isinstance(cell, str) and not _NUMBER.fullmatch(cell)
    return _FORMULA.sub("'", str(cell)) if is_text else cell


class Weighted(NamedTuple):
    """A piece of text with a weight, such as a word and how much it contributes to a prediction.

    `dlpipe predict` prints a list of these in colors on a terminal, and as ``[text, weight]`` in JSON.
    """

    text: str
    weight: float


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 trial`` or ``2 trials``."""
    return f"{count} {noun}{'s' if count != 1 else ''}"


def shown_end(reason: str, step: int) -> str:
    """Return why a training ended and after which step, once."""
    return reason if reason == f"{counted(step, 'step')} done" else f"{reason} after step {step}"


def printable(text: str) -> str:
    r"""Return text from a file with its control characters as escapes, such as ``\u001b``, safe for a terminal.

    JSON and TOML mean the same with these escapes.
    """
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def display_width(text: str) -> int:
    """Return how many columns of a terminal `printable` text takes: a Chinese character two, an accent of its own none.

    Source: Unicode Standard Annex #11, "East Asian Width", https://www.unicode.org/reports/tr11/
    """
    text = printable(text)
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def padded(text: str, width: int) -> str:
    """Return text filled with blanks to `width` columns of a terminal."""
    return text + " " * (width - display_width(text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):  # marks on the character before, invisible ones
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
