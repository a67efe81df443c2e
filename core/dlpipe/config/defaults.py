"""Computing constants from their source: defaults, so that a resolved pipeline holds all of them, and bounds.

Understood are literals, constants of the module or of another one, arithmetic on them, ``Path("…")``, ``float("inf")``,
and lists, tuples and dictionaries of all these.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import griffe

from dlpipe.config.parsed_source import Unreadable, find_constant, full_path

_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
#: Constants of modules that have no source, or of which the source computes them.
_KNOWN = {f"{module}.inf": float("inf") for module in ("math", "torch", "numpy")}
_CALLS: dict[str, Callable[..., Any]] = {"pathlib.Path": Path, "float": float}


@dataclass(frozen=True)
class Computed:
    """A default that only the component itself can compute; it applies if the key is not given."""

    source: str


def default_value(source: str, scope: griffe.Object | None = None) -> Any:
    """Return the value of a default, or `Computed`.

    Args:
        source: the expression.
        scope: the class or function to which it belongs; None if names in it mean nothing.
    """
    try:
        return constant_value(ast.parse(source, mode="eval").body, scope)
    except (Unreadable, SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError):
        return Computed(source)


def constant_value(node: ast.expr, scope: griffe.Object | None) -> Any:
    """Return the value of an expression.

    Args:
        node: the expression.
        scope: the class or function in which it stands; None if names in it mean nothing.

    Raises:
        Unreadable: it is of a kind that is not understood.
    """
    match node:
        case ast.Constant(value):
            return value
        case ast.Name() | ast.Attribute():
            return _constant(ast.unparse(node), scope)
        case ast.Tuple(elts):
            return tuple(constant_value(part, scope) for part in elts)
        case ast.List(elts):
            return [constant_value(part, scope) for part in elts]
        case ast.Dict(keys, values) if None not in keys:
            return {constant_value(k, scope): constant_value(v, scope) for k, v in zip(keys, values, strict=True) if k}
        case ast.UnaryOp(op, operand) if type(op) in _UNARY:
            return _UNARY[type(op)](constant_value(operand, scope))
        case ast.BinOp(left, op, right) if type(op) in _BINARY:
            return _BINARY[type(op)](constant_value(left, scope), constant_value(right, scope))
        case ast.Call(func, args, []):
            return _called(ast.unparse(func), scope)(*(constant_value(argument, scope) for argument in args))
    raise Unreadable(f"{ast.unparse(node)} is not understood")


def _constant(name: str, scope: griffe.Object | None) -> Any:
    if isinstance(scope, griffe.Class) and name in scope.members:
        raise Unreadable(f"{name} belongs to {scope.path}")
    if scope is None:
        raise Unreadable(f"{name} has no scope")
    path = full_path(name, scope)
    if path in _KNOWN:
        return _KNOWN[path]
    module, _, attribute = path.rpartition(".")
    return constant_value(*find_constant(module, attribute))


def _called(name: str, scope: griffe.Object | None) -> Callable[..., Any]:
    """Return the function or class that a call in a default means, if it is one of the few that are understood."""
    path = full_path(name, scope) if scope else name
    if scope and path == f"{scope.module.path}.{name}" and name not in scope.module.members:
        path = name  # a builtin
    if path not in _CALLS:
        raise Unreadable(f"{name}() is not understood")
    return _CALLS[path]
