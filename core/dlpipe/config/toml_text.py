"""Writing a value as TOML, on one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from dlpipe.config.source import dotted


def inline(value: Any) -> str:
    """Return a value as TOML has it, tables as inline tables."""
    if isinstance(value, Mapping):
        parts = ", ".join(f"{dotted((str(key),))} = {inline(part)}" for key, part in value.items())
        return f"{{ {parts} }}" if parts else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(inline, value)) + "]"
    return tomli_w.dumps({"value": value}).partition("= ")[2].rstrip("\n")
