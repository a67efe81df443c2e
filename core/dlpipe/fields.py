"""Types for the parameters of components, their relations, and descriptions of their values for messages.

The signature of a component is the schema of its table, so these types are for annotations. They are ordinary
``Annotated`` types of pydantic. Types built from ``int``, ``float``, ``bool``, ``str``, ``Path``, ``Literal``, lists,
tuples, mappings and unions work as well, and so does a ``TypedDict`` for a table within the table.

A parameter that has an effect only together with others says so in its annotation::

    maxout_pieces: Annotated[Positive, OnlyWith(activation="maxout")] = 2
    dev_size: Annotated[OpenFraction, NotWith("dev")] = 0.1

`dlpipe check` refuses a value other than the default where it would have no effect.
"""

from __future__ import annotations

import collections.abc
import json
import types
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field, Strict
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

__all__ = [
    "Fraction",
    "LossTable",
    "NonNegative",
    "NonNegativeFloat",
    "NotWith",
    "OnlyWith",
    "OpenFraction",
    "OptimizerTable",
    "Positive",
    "PositiveFloat",
    "ScheduleTable",
]

# Strict: a string is not a number and a bool not an integer, but a whole number is a float.
Positive = Annotated[int, Strict(), Field(gt=0)]
NonNegative = Annotated[int, Strict(), Field(ge=0)]
PositiveFloat = Annotated[float, Strict(), Field(gt=0)]
NonNegativeFloat = Annotated[float, Strict(), Field(ge=0)]
#: A fraction or probability from 0 to 1.
Fraction = Annotated[float, Strict(), Field(ge=0, le=1)]
#: A fraction from 0 to below 1, such as a dropout probability: dropping everything would leave nothing to learn from.
OpenFraction = Annotated[float, Strict(), Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Choice:
    """Marks a table that selects an optimizer, a schedule or a loss by name: ``{ use = "adam", lr = 1e-3 }``.

    Args:
        kind: which of the three.
    """

    kind: Literal["optimizer", "schedule", "loss"]


#: A torch optimizer by name, and its own parameters: a plain mapping once it has been checked.
OptimizerTable = Annotated[Mapping[str, Any], Choice("optimizer")]
ScheduleTable = Annotated[Mapping[str, Any], Choice("schedule")]
#: Also the name alone, for a loss without options.
LossTable = Annotated[str | Mapping[str, Any], Choice("loss")]


@dataclass(frozen=True)
class ModelReference:
    """The type of a parameter annotated ``nn.Module``: ``{ stage = "pretrain" }`` or ``{ run = "runs/…" }``.

    Args:
        many: the annotation is ``Sequence[nn.Module]``: a list of these.
    """

    many: bool = False


class Relation(ABC):
    """Marks a parameter whose effect depends on other parameters of the same component.

    Args:
        names: parameters that are set: neither ``None``, ``False``, 0 nor empty.
        values: the value that a parameter has, or a tuple of alternatives.
    """

    def __init__(self, *names: str, **values: Any) -> None:
        self.names, self.values = names, values

    def parameters(self) -> tuple[str, ...]:
        """Return the parameters on which the effect depends."""
        return (*self.names, *self.values)

    @abstractmethod
    def violation(self, others: Mapping[str, Any]) -> str:
        """Return why the parameter has no effect with these values of the others; an empty string if it has one.

        A condition on a parameter without a value, which the data provides, cannot be violated.
        """

    def __repr__(self) -> str:
        arguments = [*map(repr, self.names), *(f"{name}={value!r}" for name, value in self.values.items())]
        return f"{type(self).__name__}({', '.join(arguments)})"

    def _conditions(self) -> dict[str, str]:
        """Return the condition on each parameter, in words."""
        values = {name: f"{name} = {' or '.join(map(json.dumps, _as_tuple(v)))}" for name, v in self.values.items()}
        return dict(zip(self.names, self.names, strict=True)) | values

    def _holds(self, name: str, value: Any) -> bool:
        return value in _as_tuple(self.values[name]) if name in self.values else bool(value)


class OnlyWith(Relation):
    """The parameter has an effect only if all conditions hold; see `Relation` for the arguments."""

    def violation(self, others: Mapping[str, Any]) -> str:
        """Return the first condition that does not hold, and the next step."""
        for name, condition in self._conditions().items():
            if name in others and not self._holds(name, others[name]):
                found = json.dumps(others[name], default=str) if others[name] is not None else "not set"
                return f"has an effect only with {condition}, and {name} is {found}; remove it or change {name}"
        return ""

    def __str__(self) -> str:
        return f"only with {' and '.join(self._conditions().values())}"


class NotWith(Relation):
    """The parameter has no effect if any condition holds; see `Relation` for the arguments."""

    def violation(self, others: Mapping[str, Any]) -> str:
        """Return the first condition that holds, and the next step."""
        for name in self._conditions():
            if name in others and self._holds(name, others[name]):
                return f"has no effect with {name} = {json.dumps(others[name], default=str)}; remove one of the two"
        return ""

    def __str__(self) -> str:
        return f"not with {' or '.join(self._conditions().values())}"


def split_relations(kind: Any) -> tuple[Any, tuple[Relation, ...]]:
    """Return a type without the relations among its marks, and the relations."""
    if get_origin(kind) is not Annotated:
        return kind, ()
    bare, *marks = get_args(kind)
    rest = tuple(mark for mark in marks if not isinstance(mark, Relation))
    relations = tuple(mark for mark in marks if isinstance(mark, Relation))
    return Annotated[(bare, *rest)] if rest else bare, relations


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


#: What plain types in a signature stand for.
STRICT: dict[Any, Any] = {
    int: Annotated[int, Strict()],
    float: Annotated[float, Strict()],
    bool: Annotated[bool, Strict()],
    str: Annotated[str, Strict()],
}
STRICT_BY_NAME = {kind.__name__: strict for kind, strict in STRICT.items()}
_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "string", Path: "path"}
#: What a table that selects something by name may be, in words.
CHOSEN = {
    "optimizer": 'a table such as { use = "adam", lr = 1e-3 }',
    "schedule": 'a table such as { use = "cosine_annealing" }',
    "loss": 'a name such as "cross_entropy", or a table such as { use = "mine.focal", gamma = 2.0 }',
}
_BOUNDS = {
    "gt": "above {}",
    "ge": "of at least {}",
    "lt": "below {}",
    "le": "of at most {}",
    "min_length": "(at least {})",
}


def describe(kind: Any, plural: bool = False) -> str:
    """Return a description of the values of a type: ``a whole number above 0``.

    Args:
        kind: a type as annotations use it.
        plural: describe several values: ``whole numbers above 0``.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        if choices := [mark.kind for mark in arguments[1:] if isinstance(mark, Choice)]:
            return CHOSEN[choices[0]]
        marks = [mark for mark in arguments[1:] if isinstance(mark, FieldInfo)]
        if descriptions := [mark.description for mark in marks if mark.description]:
            return descriptions[0]
        return f"{describe(arguments[0], plural)} {_limits(marks)}".strip()
    if origin is Literal:
        values = ", ".join(map(json.dumps, arguments))
        if plural:
            return f"values from {values}"
        return values if len(arguments) == 1 else f"one of {values}"
    if origin in (Union, types.UnionType):
        return " or ".join(describe(part, plural) for part in arguments if part is not type(None))
    if origin is tuple and arguments and arguments[-1] is not ...:
        return f"a list of {len(arguments)}: " + ", ".join(describe(part) for part in arguments)
    if origin in (list, tuple, collections.abc.Sequence):
        return f"a list of {describe(arguments[0], plural=True)}"
    if origin in (dict, collections.abc.Mapping) or kind in (dict, Mapping) or is_typeddict(kind):
        return "tables" if plural else "a table"
    if isinstance(kind, ModelReference):
        one = '{ stage = "…" } or { run = "…" }'
        return f"a list of trained models, each {one}" if kind.many else f"a trained model: {one}"
    word = _WORDS.get(kind, "value")
    if kind is bool:
        return word
    return f"{word}s" if plural else f"a {word}"


def table_keys(kind: Any) -> dict[str, Any] | None:
    """Return the keys of a table and their types, or None if `kind` does not define them."""
    if get_origin(kind) is Annotated:
        return table_keys(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return next((keys for part in get_args(kind) if (keys := table_keys(part)) is not None), None)
    return dict(kind.__annotations__) if is_typeddict(kind) else None


def part_of(kind: Any, place: int | str) -> Any:
    """Return the type of the item at `place` in a value of type `kind`, or None if it is not known."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return part_of(arguments[0], place)
    if origin in (Union, types.UnionType):
        return next((found for part in arguments if (found := part_of(part, place)) is not None), None)
    if isinstance(place, str):
        values = arguments[1] if origin in (dict, collections.abc.Mapping) and arguments else None
        return (table_keys(kind) or {}).get(place, values)
    if origin is tuple and arguments[-1] is not ...:
        return None
    return arguments[0] if origin in (list, tuple, collections.abc.Sequence) else None


def _limits(marks: list[FieldInfo]) -> str:
    limits = {
        name: getattr(limit, name)
        for mark in marks
        for limit in mark.metadata
        for name in _BOUNDS
        if getattr(limit, name, None) is not None
    }
    if set(limits) == {"ge", "le"}:
        return f"from {limits['ge']} to {limits['le']}"
    return " and ".join(_BOUNDS[name].format(limit) for name, limit in limits.items())
