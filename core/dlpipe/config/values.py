"""Checking one value against the type of its parameter, with pydantic."""

from __future__ import annotations

from functools import cache
from typing import Any

import pydantic
from typing_extensions import is_typeddict

from dlpipe.config.toml_lines import KeyPath
from dlpipe.fields import describe, part_of, table_keys
from dlpipe.messages import nearest, shown


@cache
def adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    """Return the validator of a parameter's type; it accepts anything if pydantic does not know the type."""
    try:
        config = None if is_typeddict(kind) else pydantic.ConfigDict(arbitrary_types_allowed=True)
        return pydantic.TypeAdapter(kind, config=config)
    except Exception:  # pydantic raises many types here; the component itself refuses what it cannot use
        return pydantic.TypeAdapter(Any)


def mistakes(error: pydantic.ValidationError, kind: Any, value: Any) -> dict[KeyPath, str]:
    """Return what is wrong with a value, by the path within it: ``("layers", 1)``, or ``()`` for all of it."""
    found: dict[KeyPath, str] = {}
    for detail in error.errors():
        path, message = _mistake(detail["loc"], kind, value)
        found.setdefault(path, message)
    return found


def _mistake(location: KeyPath, expected: Any, found: Any) -> tuple[KeyPath, str]:
    """Follow the location that pydantic reports as far as types are known; it also names members of unions."""
    path: KeyPath = ()
    for part in location:
        keys = table_keys(expected)
        if keys is not None and part not in keys:
            hint = nearest(str(part), keys) or f" It takes {', '.join(keys)}."
            return (*path, part), f": unknown key.{hint}"
        if keys is not None and part not in found:
            return path, f": missing key `{part}`; expected {describe(part_of(expected, part))}"
        if (inner := part_of(expected, part)) is None:
            break
        expected, found, path = inner, found[part], (*path, part)
    return path, f" = {shown(found)}: expected {describe(expected)}"
