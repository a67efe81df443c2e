"""Types for the parameters of components, and what a value of each looks like in words.

A component's signature is the schema of its table, so these types appear in annotations. They are
ordinary ``Annotated`` types of pydantic; anything built from ``int``, ``float``, ``bool``, ``str``,
``Path``, ``Literal``, lists, tuples, mappings and unions of them works as well, and so does a
``TypedDict`` for a table within the table.
"""

from __future__ import annotations

import collections.abc
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field, Strict
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

# Strict: a text is no number, a bool no integer; but a whole number is a float.
Positive = Annotated[int, Strict(), Field(gt=0)]
NonNegative = Annotated[int, Strict(), Field(ge=0)]
PositiveFloat = Annotated[float, Strict(), Field(gt=0)]
NonNegativeFloat = Annotated[float, Strict(), Field(ge=0)]
#: A share or probability, from 0 to 1.
Fraction = Annotated[float, Strict(), Field(ge=0, le=1)]
#: A share below the whole, from 0 to just under 1: dropping everything would leave nothing to learn.
OpenFraction = Annotated[float, Strict(), Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Choice:
    """Marks a table that chooses something of torch's by name: ``{ use = "adam", lr = 1e-3 }``.

    Args:
        kind: which list of names, ``"optimizer"`` or ``"schedule"``.
    """

    kind: Literal["optimizer", "schedule"]


OptimizerTable = Annotated[Mapping[str, Any], Choice("optimizer")]
ScheduleTable = Annotated[Mapping[str, Any], Choice("schedule")]


@dataclass(frozen=True)
class ModelReference:
    """Stands for a parameter annotated ``nn.Module``: ``{ stage = "pretrain" }`` or ``{ run = "runs/…" }``."""


#: How plain types in a signature are meant.
STRICT: dict[Any, Any] = {
    int: Annotated[int, Strict()],
    float: Annotated[float, Strict()],
    bool: Annotated[bool, Strict()],
    str: Annotated[str, Strict()],
}
STRICT_BY_NAME = {kind.__name__: strict for kind, strict in STRICT.items()}
_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path"}
_EXAMPLES = {"optimizer": '{ use = "adam", lr = 1e-3 }', "schedule": '{ use = "cosine_annealing" }'}
_BOUNDS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}


def describe(kind: Any, plural: bool = False) -> str:
    """Say in words what values the type `kind` takes, such as ``a whole number above 0``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        if choices := [mark.kind for mark in arguments[1:] if isinstance(mark, Choice)]:
            return f"a table such as {_EXAMPLES[choices[0]]}"
        if told := [mark.description for mark in arguments[1:] if isinstance(mark, FieldInfo) and mark.description]:
            return told[0]
        limits = [text for mark in arguments[1:] if isinstance(mark, FieldInfo) for text in _limits(mark)]
        return " ".join([describe(arguments[0], plural), " and ".join(limits)]).strip()
    if origin is Literal:
        choice = "" if len(arguments) == 1 else "one of "
        return ("each " if plural else "") + choice + ", ".join(map(json.dumps, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(describe(part, plural) for part in arguments if part is not type(None))
    if origin is tuple and arguments and arguments[-1] is not ...:
        return f"a list of {len(arguments)}: " + ", ".join(describe(part) for part in arguments)
    if origin in (list, tuple, collections.abc.Sequence):
        return f"a list of {describe(arguments[0], plural=True)}"
    if origin in (dict, collections.abc.Mapping) or kind in (dict, Mapping) or is_typeddict(kind):
        return "tables" if plural else "a table"
    if isinstance(kind, ModelReference):
        return 'a trained model: { stage = "…" } or { run = "…" }'
    word = _WORDS.get(kind, "value")
    if kind is bool:
        return word
    return word + "s" if plural and kind is not str else (word if kind is str else f"a {word}")


def table_keys(kind: Any) -> dict[str, Any] | None:
    """Return the keys of a table and their types, where `kind` says them; else None."""
    if get_origin(kind) in (Union, types.UnionType):
        return next((keys for part in get_args(kind) if (keys := table_keys(part)) is not None), None)
    return dict(kind.__annotations__) if is_typeddict(kind) else None


def part_of(kind: Any, place: int | str) -> Any:
    """Return the type of what stands at `place` in a value of type `kind`, or None where that is not known."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(place, str):
        return (table_keys(kind) or {}).get(place)
    if origin in (Union, types.UnionType):
        return next((found for part in arguments if (found := part_of(part, place)) is not None), None)
    if origin is tuple and arguments[-1] is not ...:
        return None
    return arguments[0] if origin in (list, tuple, collections.abc.Sequence) else None


def _limits(mark: FieldInfo) -> list[str]:
    return [
        words.format(getattr(limit, name))
        for limit in mark.metadata
        for name, words in _BOUNDS.items()
        if getattr(limit, name, None) is not None
    ]
