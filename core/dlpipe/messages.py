"""Building blocks of error messages: the nearest known name, a value as TOML writes it, a short path."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rapidfuzz.distance import OSA

#: The share of a name's letters that may be wrong for it to be taken for another: one letter in three.
MAX_WRONG = 1 / 3
#: The longest value that a message shows in full.
MAX_SHOWN = 60


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean "x"?`` for the known name that `name` was probably meant to be, or an empty string.

    Names are ranked by the number of letters inserted, deleted, replaced or swapped with their neighbour (the
    optimal string alignment distance). Among equally near names the first one wins: list common names first.
    """
    known = list(known)
    near = [other for other in known if OSA.distance(name, other) <= max(len(name), len(other)) * MAX_WRONG]
    near.sort(key=lambda other: OSA.distance(name, other))  # stable
    near = near or [other for other in known if len(name) > 2 and other.startswith(name)]
    return f' Did you mean "{near[0]}"?' if near else ""


def shown(value: Any) -> str:
    """Write a value as it would stand in a TOML file, truncated if it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "…"


def relative(path: Path) -> str:
    """Return `path` relative to the working directory if that is shorter."""
    short = os.path.relpath(path)
    return short if len(short) < len(str(path)) else str(path)
