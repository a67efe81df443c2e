"""Reading the signature of a component without importing it.

The signature *is* the schema: names, annotations, defaults and the ``Args:`` of the docstring.
griffe parses the source file in milliseconds; only a target that cannot be found as a source file
is imported. An annotation that cannot be understood statically stands for any value: the component
itself will refuse what it cannot use.
"""

from __future__ import annotations

import ast
import collections.abc
import importlib
import importlib.util
import inspect
import logging
import pathlib
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Union

import griffe
import pydantic
import typing_extensions

from dlpipe import fields
from dlpipe.errors import PluginError
from dlpipe.registry.targets import load_target

logging.getLogger("griffe").setLevel(logging.CRITICAL)  # it would comment on other people's docstrings

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()
_MODULES_OF_TYPES = {
    "typing": typing,
    "collections.abc": collections.abc,
    "pathlib": pathlib,
    "pydantic": pydantic,
    "dlpipe.fields": fields,
}
_BUILTINS: dict[str, Any] = {**fields.STRICT_BY_NAME, "None": type(None), "dict": dict, "list": list, "tuple": tuple}
#: Bases that have no parameters of their own.
_PLAIN_BASES = {"object", "ABC", "Generic", "Protocol"}
_MODULE_NAMES = {"torch.nn.Module", "torch.nn.modules.module.Module"}


class Unreadable(Exception):
    """The source does not say, to someone who does not run it, what is asked."""


@dataclass(frozen=True)
class Computed:
    """A default that is not a literal; the component applies it when the key is not given."""

    source: str


@dataclass(frozen=True)
class Parameter:
    """One key of a component's table.

    Args:
        kind: the type of its values, as pydantic understands it; ``Any`` when unknown.
        default: a plain value, `Computed` or `REQUIRED`.
        text: the line of the docstring.
    """

    name: str
    kind: Any
    default: Any
    text: str

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is REQUIRED

    @property
    def choice(self) -> str:
        """The list of names this table chooses from (``"optimizer"`` ...), or an empty text."""
        parts = [self.kind, *typing.get_args(self.kind)]  # it may stand in a union with None
        marks = [mark for part in parts for mark in typing.get_args(part)[1:] if isinstance(mark, fields.Choice)]
        return marks[0].kind if marks else ""


@dataclass(frozen=True)
class Signature:
    """What a component's table may hold.

    Args:
        parameters: in the order of the signature.
        summary: first line of the docstring.
        file: the source it was read from, empty when it was imported.
    """

    parameters: dict[str, Parameter]
    summary: str
    file: str


@cache
def read_signature(target: str) -> Signature:
    """Read the signature of ``"package.module:Name"``, statically where that is possible.

    Raises:
        PluginError: there is no such module or name.
    """
    module, _, name = target.partition(":")
    try:
        found, file = _find(module, name)
        parameters, documented = _callable(found)
    except Unreadable:
        return _imported(target)
    texts = _texts(documented)
    read = {
        parameter.name: Parameter(
            parameter.name,
            _resolve(str(parameter.annotation), found) if parameter.annotation is not None else Any,
            REQUIRED if parameter.default is None else _literal(str(parameter.default)),
            texts.get(parameter.name, ""),
        )
        for parameter in parameters
    }
    doc = next((item.docstring.value for item in documented if item.docstring), "")
    return Signature(read, doc.strip().partition("\n")[0], str(file))


def _callable(found: griffe.Object) -> tuple[list[griffe.Parameter], list[griffe.Object]]:
    """Return the parameters of a class or function less self, and whatever may document them."""
    variadic = (griffe.ParameterKind.var_positional, griffe.ParameterKind.var_keyword)
    if isinstance(found, griffe.Function):
        return [parameter for parameter in found.parameters if parameter.kind not in variadic], [found]
    if not isinstance(found, griffe.Class):
        raise Unreadable(f"{found.path} is neither a class nor a function")
    for ancestor in _ancestors(found):
        init = ancestor.members.get("__init__")
        if isinstance(init, griffe.Function):
            parameters = [parameter for parameter in init.parameters if parameter.kind not in variadic][1:]
            return parameters, [found, ancestor, init]
        if _is_dataclass(ancestor):
            return _dataclass_fields(ancestor), [found, *_ancestors(ancestor)]
    return [], [found]


def _ancestors(found: griffe.Class) -> Iterator[griffe.Class]:
    """Yield the class and those it inherits from, the nearest first."""
    yield found
    for base in found.bases:
        name = str(base).partition("[")[0]
        if name.rpartition(".")[2] in _PLAIN_BASES:
            continue
        module, _, name = _path(name, found).rpartition(".")
        parent, _ = _find(module, name)
        if not isinstance(parent, griffe.Class) or parent.path == found.path:
            raise Unreadable(f"{found.path} inherits from {base}")
        yield from _ancestors(parent)


def _is_dataclass(found: griffe.Class) -> bool:
    return any("dataclass" in str(decorator.value) for decorator in found.decorators)


def _dataclass_fields(found: griffe.Class) -> list[griffe.Parameter]:
    """Return the parameters that ``@dataclass`` makes: those of the bases first."""
    parameters: dict[str, griffe.Parameter] = {}
    for ancestor in filter(_is_dataclass, reversed(list(_ancestors(found)))):
        for member in ancestor.members.values():
            if not isinstance(member, griffe.Attribute) or member.annotation is None:
                continue
            if "instance-attribute" not in member.labels:  # griffe has taken ClassVar off the annotation
                continue
            if "field(" in str(member.value):
                raise Unreadable(f"{member.path} is made by field()")
            parameters[member.name] = griffe.Parameter(member.name, annotation=member.annotation, default=member.value)
    return list(parameters.values())


def _texts(documented: list[griffe.Object]) -> dict[str, str]:
    """Return the ``Args:`` lines of the docstrings by parameter; the first that has one wins."""
    texts: dict[str, str] = {}
    for item in documented:
        if item.docstring is None:
            continue
        for section in item.docstring.parse("google", warnings=False):
            if isinstance(section, griffe.DocstringSectionParameters):
                for entry in section.value:
                    texts.setdefault(entry.name, " ".join(entry.description.split()))
    return texts


def _find(module: str, name: str) -> tuple[griffe.Object, Path]:
    """Return the parsed class, function or attribute `name` of `module`, and its file."""
    seen = set()
    while (module, name) not in seen:
        seen.add((module, name))
        file = _source(module)
        member = _parse(module, file).members.get(name)
        if member is None:
            raise Unreadable(f"{module} has no {name}")
        if not isinstance(member, griffe.Alias):
            return member, file
        module, _, name = member.target_path.rpartition(".")
    raise Unreadable(f"{module} imports {name} from itself")


@cache
def _parse(module: str, file: Path) -> griffe.Module:
    try:
        tree = griffe.visit(module, filepath=file, code=file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise Unreadable(str(error)) from error
    return tree


def _source(module: str) -> Path:
    """Return the source file of a module that need not have been imported."""
    top, *rest = module.split(".")
    if module in sys.modules and getattr(sys.modules[module], "__file__", None):
        return Path(str(sys.modules[module].__file__))
    try:
        spec = importlib.util.find_spec(top)  # a top-level name: this imports nothing
    except (ImportError, ValueError) as error:
        raise Unreadable(str(error)) from error
    if spec is None or spec.origin is None:
        raise Unreadable(f"no module {top}")
    path = Path(spec.origin)
    if rest:
        path = path.parent.joinpath(*rest)
        path = path / "__init__.py" if path.is_dir() else path.with_name(path.name + ".py")
    if path.suffix != ".py" or not path.is_file():
        raise Unreadable(f"no source of {module}")
    return path


def _resolve(annotation: str, scope: griffe.Object) -> Any:
    """Return the type that an annotation in `scope` means, or Any."""
    try:
        return _type(ast.parse(annotation, mode="eval").body, scope)
    except (Unreadable, SyntaxError, TypeError, RecursionError):  # Json = dict[str, "Json"]
        return Any


def _type(node: ast.expr, scope: griffe.Object) -> Any:
    if isinstance(node, ast.Constant):
        return _type(ast.parse(node.value, mode="eval").body, scope) if isinstance(node.value, str) else type(None)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([node.left, node.right], scope)
    if isinstance(node, ast.Subscript):
        outer = _type(node.value, scope)
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer is typing.Literal:
            return typing.Literal[tuple(_constant(part) for part in inner)]
        if outer is typing.Annotated:
            marks = tuple(_mark(part, scope) for part in inner[1:])
            return typing.Annotated[(_type(inner[0], scope), *marks)]
        if outer in (Union, typing.Optional):
            return _union(inner, scope)
        parts = tuple(... if _is_ellipsis(part) else _type(part, scope) for part in inner)
        if any(isinstance(part, fields.ModelReference) for part in parts):
            raise Unreadable(ast.unparse(node))
        return outer[parts]
    if isinstance(node, (ast.Name, ast.Attribute)):
        return _named(ast.unparse(node), scope)
    raise Unreadable(ast.unparse(node))


def _union(parts: list[ast.expr], scope: griffe.Object) -> Any:
    """Join those members that are known without running anything (torch's ``float | Tensor`` is a float)."""
    known = []
    for part in parts:
        try:
            known.append(_type(part, scope))
        except Unreadable:
            continue
    if not known or known == [type(None)]:
        raise Unreadable("no known member")
    if models := [part for part in known if isinstance(part, fields.ModelReference)]:
        return models[0]
    return Union[tuple(known)]  # noqa: UP007  of a computed list


def _named(name: str, scope: griffe.Object) -> Any:
    if name in _BUILTINS:
        return _BUILTINS[name]
    path = _path(name, scope)
    if path in _MODULE_NAMES:
        return fields.ModelReference()
    module, _, attribute = path.rpartition(".")
    if hasattr(_MODULES_OF_TYPES.get(module), attribute):
        return getattr(_MODULES_OF_TYPES[module], attribute)
    found, _ = _find(module, attribute)
    if isinstance(found, griffe.Attribute) and found.value is not None:
        return _type(ast.parse(str(found.value), mode="eval").body, found)
    if isinstance(found, griffe.Class) and any(str(base).rpartition(".")[2] == "TypedDict" for base in found.bases):
        return _table(found)
    raise Unreadable(path)


def _table(found: griffe.Class) -> Any:
    """Return a TypedDict as pydantic takes it: keys of other names are mistakes."""
    keys = {
        name: _resolve(str(member.annotation), found)
        for name, member in found.members.items()
        if isinstance(member, griffe.Attribute)
    }
    make: Any = typing_extensions.TypedDict  # which pydantic wants before Python 3.12
    made = make(found.name, keys, total=found.keywords.get("total") != "False")
    made.__pydantic_config__ = pydantic.ConfigDict(extra="forbid")
    return made


def _path(name: str, scope: griffe.Object) -> str:
    """Return the full path of a name used in `scope`: ``nn.Module`` is ``torch.nn.Module``."""
    first, dot, rest = name.partition(".")
    member = scope.module.members.get(first)
    if member is None:
        raise Unreadable(name)
    start = member.target_path if isinstance(member, griffe.Alias) else f"{scope.module.path}.{first}"
    return start + dot + rest


def _mark(node: ast.expr, scope: griffe.Object) -> Any:
    if isinstance(node, ast.Call):
        arguments = [_constant(argument) for argument in node.args]
        keywords = {keyword.arg: _constant(keyword.value) for keyword in node.keywords if keyword.arg}
        return _named(ast.unparse(node.func), scope)(*arguments, **keywords)
    return _constant(node)


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise Unreadable(ast.unparse(node)) from error


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _literal(source: str) -> Any:
    if source in ('float("inf")', "float('inf')", "math.inf", "inf"):
        return float("inf")
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return Computed(source)


def _imported(target: str) -> Signature:
    """Read the signature of a target that has no source to parse."""
    found = load_target(target)
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError) as error:
        raise PluginError(f"{target} cannot be used: it has no signature ({error})") from error
    read = {
        parameter.name: Parameter(
            parameter.name,
            Any,
            REQUIRED if parameter.default is parameter.empty else _literal(repr(parameter.default)),
            "",
        )
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    return Signature(read, (inspect.getdoc(found) or "").partition("\n")[0], "")
