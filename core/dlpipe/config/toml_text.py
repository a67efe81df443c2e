"""Writing values as TOML, as a person would put them into a pipeline file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tomli_w

from dlpipe.config.source import dotted, key_path


def inline(value: Any) -> str:
    """Return a value on one line, tables as inline tables."""
    if isinstance(value, Mapping):
        parts = ", ".join(f"{dotted((str(key),))} = {inline(part)}" for key, part in value.items())
        return f"{{ {parts} }}" if parts else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return tomli_w.dumps({"value": value}).partition("= ")[2].rstrip("\n")


def patch(values: Mapping[str, Any]) -> str:
    """Return what to write into a pipeline file so that it has these values.

    Args:
        values: by their paths, such as ``trainer.optimizer.lr``. A key of a table that selects something (``use``)
            stands in that table.
    """
    tables: dict[str, list[str]] = {}
    for name, value in values.items():
        *table, key = key_path(name)
        tables.setdefault(dotted(tuple(table)), []).append(f"{dotted((key,))} = {inline(value)}")
    top = tables.pop("", [])
    parts = ["\n".join(top)] if top else []
    parts += ["\n".join([f"[{table}]", *lines]) for table, lines in tables.items()]
    return "\n\n".join(parts)
