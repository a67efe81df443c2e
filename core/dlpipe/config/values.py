"""Checking one value against the type of its parameter, with pydantic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pydantic
from typing_extensions import is_typeddict

from dlpipe.config.defaults import Computed
from dlpipe.config.signatures import Parameter
from dlpipe.config.toml_lines import KeyPath
from dlpipe.fields import ModelReference, describe, part_of, table_keys
from dlpipe.messages import nearest, shown


@cache
def adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    """Return the validator of a parameter's type; it accepts anything if pydantic does not know the type."""
    if get_origin(kind) is Iterable:
        # Of an Iterable, pydantic makes an iterator, which is empty when it is read again.
        kind = Sequence[get_args(kind)]  # type: ignore[misc]
    try:
        config = None if is_typeddict(kind) else pydantic.ConfigDict(arbitrary_types_allowed=True)
        return pydantic.TypeAdapter(kind, config=config)
    except Exception:  # pydantic raises many types here; the component itself refuses what it cannot use
        return pydantic.TypeAdapter(Any)


def refused_default(parameter: Parameter) -> str:
    """Return why the default of a parameter is not one of its values, in words; an empty string if it is."""
    default = parameter.default
    if parameter.required or isinstance(default, Computed) or isinstance(parameter.kind, ModelReference):
        return ""
    try:
        adapter(parameter.kind).validate_python(as_given(default))
    except pydantic.ValidationError:
        return (
            f"has the default {parameter.name} = {default!r}, which its own annotation refuses; expected "
            f"{describe(parameter.kind)}"
        )
    return ""


def as_given(default: Any) -> Any:
    """Return a default as if a file gave it: a list instead of a tuple."""
    return list(default) if isinstance(default, tuple) else default


def mistakes(error: pydantic.ValidationError, kind: Any, value: Any) -> dict[KeyPath, str]:
    """Return what is wrong with a value, by the path within it: ``("layers", 1)``, or ``()`` for all of it."""
    found: dict[KeyPath, str] = {}
    for detail in error.errors():
        if mistake := _mistake(detail["loc"], kind, value):
            found.setdefault(*mistake)
    return found


def _mistake(location: KeyPath, expected: Any, found: Any) -> tuple[KeyPath, str] | None:
    """Follow the location that pydantic reports as far as types are known; it also names members of unions.

    Of a union, only what the table in it says of a table is a mistake; None for the rest.
    """
    path: KeyPath = ()
    for part in location:
        if len(members := _members(expected)) > 1:
            tables = [member for member in members if table_keys(member) is not None]
            if not tables or not isinstance(found, Mapping):
                break
            if part != tables[0].__name__:
                return None
            expected = tables[0]
            continue
        keys = table_keys(expected)
        if keys is not None and part not in keys:
            hint = nearest(str(part), keys) or f" It takes {', '.join(keys)}."
            return (*path, part), f": unknown key.{hint}"
        if keys is not None and part not in found:
            return path, f": missing key `{part}`; expected {describe(part_of(expected, part))}"
        if (inner := part_of(expected, part)) is None:
            break
        expected, found, path = inner, found[part], (*path, part)
    return path, f" = {shown(found)}: expected {describe(expected)}{_nearest_literal(found, expected)}"


def _nearest_literal(found: Any, expected: Any) -> str:
    """Return a sentence with the value that was probably meant, or an empty string."""
    parts = _members(expected) or [expected]
    names = [name for part in parts if get_origin(part) is Literal for name in get_args(part) if isinstance(name, str)]
    hint = nearest(found, names) if isinstance(found, str) else ""
    return f".{hint}" if hint else ""


def _members(kind: Any) -> list[Any]:
    """Return the members of a union besides None; of another type none."""
    if get_origin(kind) not in (Union, UnionType):
        return []
    return [part for part in get_args(kind) if part is not type(None)]
