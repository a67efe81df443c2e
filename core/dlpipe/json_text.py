"""JSON that every program can read: a number that is not finite has none, though Python writes NaN and Infinity."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["to_json"]


def to_json(content: Any, **options: Any) -> str:
    """Return the JSON text of a value; numbers that are not finite become null.

    Args:
        options: of `json.dumps`.
    """
    return json.dumps(finite(content), allow_nan=False, **options)


def finite(content: Any, instead: Callable[[float], Any] = lambda number: None) -> Any:
    """Return a value, of lists and dicts, with something else for each number that is not finite.

    Args:
        instead: returns it: None for results; `str` for settings, such as "inf" as TOML writes it.
    """
    if isinstance(content, Mapping):
        return {key: finite(part, instead) for key, part in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(part, instead) for part in content]
    return instead(content) if isinstance(content, float) and not math.isfinite(content) else content
