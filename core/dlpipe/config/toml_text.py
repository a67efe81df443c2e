"""Writing a value as TOML, on one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from dlpipe.config.source import dotted


def inline(value: Any, *, shorten: bool = False) -> str:
    """Return a value as TOML has it, tables as inline tables.

    Args:
        shorten: write nine equal values as ``9 × 500``, for a person.
    """
    if isinstance(value, Mapping):
        table = ", ".join(f"{dotted((str(key),))} = {inline(part, shorten=shorten)}" for key, part in value.items())
        return f"{{ {table} }}" if table else "{}"
    if isinstance(value, (list, tuple)):
        parts = [inline(part, shorten=shorten) for part in value]
        if shorten and len(parts) > 3 and len(set(parts)) == 1:
            return f"{len(parts)} × {parts[0]}"
        return f"[{', '.join(parts)}]"
    return tomli_w.dumps({"value": value}).partition("= ")[2].rstrip("\n")
