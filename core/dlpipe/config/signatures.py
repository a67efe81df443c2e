"""Reading the signature of a component without importing it.

The signature *is* the schema: names, annotations, defaults and the ``Args:`` of the docstring. griffe parses the source
file in milliseconds; only a target without a source file is imported. This module interprets the annotations as Python
would, except that it runs nothing. An example, the target ``"dlpipe_text.rnn_tagger:RNNTagger"``::

    from dlpipe.fields import Positive

    class RNNTagger(nn.Module):
        def __init__(self, ..., *, window: Positive | None = None, hidden_dim: Positive = WIDTH): ...

1. `_find` parses ``rnn_tagger.py`` and returns the class; `_callable` returns the parameters of its ``__init__``.
2. `_type` takes the annotation ``Positive | None`` apart: a `_union` of two names.
3. `_named` looks ``Positive`` up: `_path` follows the import to ``dlpipe.fields.Positive``. Types of that module, of
   typing, collections.abc, pathlib and pydantic are known; here it is ``Annotated[int, Strict(), Field(gt=0)]``. An
   alias of any other module is parsed in turn; ``nn.Module`` and what inherits from it become a reference to a trained
   model.
4. The result is ``Union[Annotated[int, …], None]``, which pydantic can check and `dlpipe.fields.describe` can put into
   words: "a whole number above 0".
5. `dlpipe.config.defaults` computes the default: ``WIDTH`` is a constant of the module, say 100.

An annotation that cannot be understood this way accepts any value, with a warning: the component itself refuses what it
cannot use.
"""

from __future__ import annotations

import ast
import collections.abc
import inspect
import pathlib
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Union

import griffe
import pydantic
import typing_extensions

from dlpipe import fields
from dlpipe.config.defaults import constant_value, default_value
from dlpipe.config.parsed_source import Unreadable, find_member, full_path, super_call
from dlpipe.errors import PluginError
from dlpipe.registry.targets import load_target

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()
_MODULES_OF_TYPES = {
    "typing": typing,
    "collections.abc": collections.abc,
    "pathlib": pathlib,
    "pydantic": pydantic,
    "dlpipe.fields": fields,
}
_BUILTINS: dict[str, Any] = {**fields.STRICT_BY_NAME, "None": type(None), "dict": dict, "list": list, "tuple": tuple}
#: What to do about a parameter whose type is not known.
ANNOTATE = "annotate it with types of Python, typing or dlpipe.fields"
#: Base classes without parameters.
_PLAIN_BASES = {"object", "ABC", "Generic", "Protocol"}
_MODULE_NAMES = {"torch.nn.Module", "torch.nn.modules.module.Module"}
#: Types that a pipeline file cannot express; to find that out by parsing torch's sources would take 0.2 s.
_NOT_IN_FILES = {"torch.Tensor", "torch.dtype", "torch.device", "torch.Generator"}


@dataclass(frozen=True)
class Parameter:
    """One key of a component's table.

    Args:
        kind: the type of its values, as pydantic understands it; ``Any`` if it is not known.
        default: a value, `Computed` or `REQUIRED`.
        text: its description in the docstring.
        relations: the other parameters that it needs to have an effect.
        unchecked: why its type is not known, as half a sentence; empty if it is known.
    """

    name: str
    kind: Any
    default: Any
    text: str
    relations: tuple[fields.Relation, ...] = ()
    unchecked: str = ""

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is REQUIRED

    @property
    def help(self) -> str:
        """The description, with what else the parameter needs to have an effect."""
        return " ".join([self.text, *(f"({relation})" for relation in self.relations)]).strip()

    @property
    def choice(self) -> str:
        """What a table selects by name (``"optimizer"``, ``"schedule"`` or ``"loss"``), or an empty string."""
        parts = [self.kind, *typing.get_args(self.kind)]  # it may be in a union with None
        marks = [mark for part in parts for mark in typing.get_args(part)[1:] if isinstance(mark, fields.Choice)]
        return marks[0].kind if marks else ""


@dataclass(frozen=True)
class Signature:
    """The parameters of a component.

    Args:
        parameters: in the order of the signature.
        summary: first line of the docstring.
        file: the source it was read from; empty if it was imported.
    """

    parameters: dict[str, Parameter]
    summary: str
    file: str


@cache
def read_signature(target: str) -> Signature:
    """Read the signature of ``"package.module:Name"``, from its source file if there is one.

    Raises:
        PluginError: there is no such module or name, or a relation names no parameter.
    """
    module, _, name = target.partition(":")
    try:
        found, file = find_member(module, name)
        parameters, documented = _callable(found)
    except Unreadable:
        return _imported(target)
    texts = _texts(documented)
    read = {}
    for parameter, scope in parameters:
        kind, unchecked = _kind(parameter, scope)
        kind, relations = fields.split_relations(kind)
        default = REQUIRED if parameter.default is None else default_value(str(parameter.default), scope)
        text = texts.get(parameter.name, "")
        read[parameter.name] = Parameter(parameter.name, kind, default, text, relations, unchecked)
    _check_relations(target, read)
    doc = next((item.docstring.value for item in documented if item.docstring), "")
    return Signature(read, doc.strip().partition("\n")[0], str(file))


def _check_relations(target: str, parameters: Mapping[str, Parameter]) -> None:
    for parameter in parameters.values():
        for relation in parameter.relations:
            for name in relation.parameters():
                if name not in parameters or name == parameter.name:
                    raise PluginError(
                        f"{target}: {parameter.name} is marked {relation!r}, but {name} is not another parameter of "
                        f"{target.rpartition(':')[2]}"
                    )


#: A parameter, and the class or function in whose module its annotation and default are to be understood.
_Scoped = tuple[griffe.Parameter, griffe.Object]


def _callable(found: griffe.Object) -> tuple[list[_Scoped], list[griffe.Object]]:
    """Return the parameters of a class or function without ``self``, and the objects that may document them."""
    if isinstance(found, griffe.Function):
        return _parameters(found, found), [found]
    if not isinstance(found, griffe.Class):
        raise Unreadable(f"{found.path} is neither a class nor a function")
    parameters, documented = _constructor(_ancestors(found))
    return parameters, [found, *documented]


def _constructor(classes: Iterator[griffe.Class]) -> tuple[list[_Scoped], list[griffe.Object]]:
    """Return the parameters of the first ``__init__`` of some classes, and the objects that may document them."""
    for found in classes:
        init = found.members.get("__init__")
        if isinstance(init, griffe.Function):
            own = _parameters(init, found)[1:]
            passed_on, documented = _passed_on(init, {parameter.name for parameter, _ in own}, classes)
            return own + passed_on, [found, init, *documented]
        if _is_dataclass(found):
            return _dataclass_fields(found), [*_ancestors(found)]
    return [], []


def _passed_on(
    init: griffe.Function, own: set[str], classes: Iterator[griffe.Class]
) -> tuple[list[_Scoped], list[griffe.Object]]:
    """Return the parameters of the next ``__init__`` that this one passes on in ``super().__init__(…, **kwargs)``."""
    call = super_call(init)
    if call is None:
        return [], []
    try:
        inherited, documented = _constructor(classes)
    except Unreadable:  # the parameters of this one are known all the same
        return [], []
    by_position = sum(not isinstance(argument, ast.Starred) for argument in call.args)
    given = own | {keyword.arg for keyword in call.keywords}
    return [each for each in inherited[by_position:] if each[0].name not in given], documented


def _parameters(function: griffe.Function, scope: griffe.Object) -> list[_Scoped]:
    variadic = (griffe.ParameterKind.var_positional, griffe.ParameterKind.var_keyword)
    return [(parameter, scope) for parameter in function.parameters if parameter.kind not in variadic]


def _ancestors(found: griffe.Class) -> Iterator[griffe.Class]:
    """Yield the class and its base classes in the order in which Python looks for an attribute.

    The sources of base classes are read only if the class itself is not enough.

    Raises:
        Unreadable: it is the turn of a base class that cannot be read.
    """
    for ancestor in _resolution_order(found):
        if isinstance(ancestor, str):
            raise Unreadable(f"no source of {ancestor}")
        yield ancestor


def _resolution_order(found: griffe.Class) -> Iterator[griffe.Class | str]:
    """Yield the class and its base classes as `_ancestors` does; one that cannot be read is its full path."""
    yield found
    parents = [_base(found, str(base)) for base in found.bases if not _is_plain(str(base), found)]
    rest = [*([parent] if isinstance(parent, str) else [*_resolution_order(parent)] for parent in parents), parents]
    while rest := [classes for classes in rest if classes]:  # C3, as Python's own
        heads = [classes[0] for classes in rest]
        first = next((head for head in heads if not any(head in classes[1:] for classes in rest)), None)
        if first is None:
            raise Unreadable(f"the base classes of {found.path} have no order")
        yield first
        rest = [classes[1:] if classes[0] == first else classes for classes in rest]


def _is_plain(base: str, found: griffe.Class) -> bool:
    """Return whether a base class has no parameters."""
    name = base.partition("[")[0]
    return name.rpartition(".")[2] in _PLAIN_BASES or full_path(name, found) in _MODULE_NAMES


def _base(found: griffe.Class, base: str) -> griffe.Class | str:
    """Return a base class, or its full path if it cannot be read."""
    path = full_path(base.partition("[")[0], found)
    module, _, name = path.rpartition(".")
    with suppress(Unreadable):
        parent, _ = find_member(module, name)
        if isinstance(parent, griffe.Class) and parent.path != found.path:
            return parent
    return path


def _is_dataclass(found: griffe.Class) -> bool:
    return any("dataclass" in str(decorator.value) for decorator in found.decorators)


def _dataclass_fields(found: griffe.Class) -> list[_Scoped]:
    """Return the parameters of the ``__init__`` that ``@dataclass`` generates: those of base classes first."""
    parameters: dict[str, _Scoped] = {}
    for ancestor in filter(_is_dataclass, reversed(list(_ancestors(found)))):
        for member in ancestor.members.values():
            if not isinstance(member, griffe.Attribute) or member.annotation is None:
                continue
            if "instance-attribute" not in member.labels:  # griffe has removed ClassVar from the annotation
                continue
            options = _field_options(member)
            if options.get("init") != "False":
                default = options.get("default", options.get("default_factory"))
                parameter = griffe.Parameter(member.name, annotation=member.annotation, default=default)
                parameters[member.name] = parameter, ancestor
    return list(parameters.values())


def _field_options(member: griffe.Attribute) -> dict[str, str]:
    """Return the options of a field of a dataclass as source text, the call of the factory as ``default_factory``."""
    if member.value is None:
        return {}
    value = ast.parse(str(member.value), mode="eval").body
    if not isinstance(value, ast.Call) or ast.unparse(value.func).rpartition(".")[2] != "field":
        return {"default": ast.unparse(value)}
    options = {keyword.arg: keyword.value for keyword in value.keywords if keyword.arg}
    if "default_factory" in options:
        options["default_factory"] = ast.Call(options["default_factory"], [], [])
    return {name: ast.unparse(option) for name, option in options.items()}


def _texts(documented: list[griffe.Object]) -> dict[str, str]:
    """Return the descriptions in ``Args:`` by parameter; the first docstring that has one takes precedence."""
    texts: dict[str, str] = {}
    for item in documented:
        if item.docstring is None:
            continue
        for section in item.docstring.parse("google", warnings=False):
            if isinstance(section, griffe.DocstringSectionParameters):
                for entry in section.value:
                    text = " ".join(entry.description.split())
                    texts.setdefault(entry.name, text.replace("``", "`"))  # a terminal shows the marks as they are
    return texts


def _kind(parameter: griffe.Parameter, scope: griffe.Object) -> tuple[Any, str]:
    """Return the type of a parameter, and why it is not known, or an empty string."""
    if parameter.annotation is None:
        return Any, f"does not say the type of {parameter.name}"
    kind = _resolve(str(parameter.annotation), scope)
    if kind is None:
        return Any, f"annotates {parameter.name} with {parameter.annotation}, which is not understood"
    return kind, ""


def _resolve(annotation: str, scope: griffe.Object) -> Any:
    """Return the type that an annotation in `scope` stands for, or None if it is not understood."""
    try:
        return _type(ast.parse(annotation, mode="eval").body, scope)
    except (Unreadable, SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError):
        return None  # too deep are types that contain themselves: Json = dict[str, "Json"]


def _type(node: ast.expr, scope: griffe.Object) -> Any:
    if isinstance(node, ast.Constant):
        return _type(ast.parse(node.value, mode="eval").body, scope) if isinstance(node.value, str) else type(None)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([node.left, node.right], scope)
    if isinstance(node, ast.Subscript):
        outer = _type(node.value, scope)
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer is typing.Literal:
            return typing.Literal[tuple(constant_value(part, scope) for part in inner)]
        if outer is typing.Annotated:
            marks = tuple(_mark(part, scope) for part in inner[1:])
            return typing.Annotated[(_type(inner[0], scope), *marks)]
        if outer in (Union, typing.Optional):
            return _union(inner, scope)
        parts = tuple(... if _is_ellipsis(part) else _type(part, scope) for part in inner)
        if any(isinstance(part, fields.ModelReference) for part in parts):
            if outer in (list, collections.abc.Sequence):
                return fields.ModelReference(many=True)
            raise Unreadable(f"{ast.unparse(node)} is not understood")
        return outer[parts]
    if isinstance(node, (ast.Name, ast.Attribute)):
        return _named(ast.unparse(node), scope)
    raise Unreadable(f"{ast.unparse(node)} is not understood")


def _union(parts: list[ast.expr], scope: griffe.Object) -> Any:
    """Return the union of the members that are known (``float | Tensor`` becomes float)."""
    known = []
    for part in parts:
        try:
            known.append(_type(part, scope))
        except Unreadable:
            continue
    if not known or known == [type(None)]:
        raise Unreadable(f"no member of {' | '.join(map(ast.unparse, parts))} is understood")
    if models := [part for part in known if isinstance(part, fields.ModelReference)]:
        return models[0]
    return Union[tuple(known)]  # noqa: UP007  of a computed list


def _named(name: str, scope: griffe.Object) -> Any:
    if name in _BUILTINS:
        return _BUILTINS[name]
    path = full_path(name, scope)
    if _is_layer(path):
        return fields.ModelReference()
    if path in _NOT_IN_FILES:
        raise Unreadable(f"{path} is not understood")
    module, _, attribute = path.rpartition(".")
    if hasattr(_MODULES_OF_TYPES.get(module), attribute):
        return getattr(_MODULES_OF_TYPES[module], attribute)
    found, _ = find_member(module, attribute)
    if isinstance(found, griffe.Attribute) and found.value is not None:
        return _type(ast.parse(str(found.value), mode="eval").body, found)
    if isinstance(found, griffe.Class) and any(str(base).rpartition(".")[2] == "TypedDict" for base in found.bases):
        return _table(found)
    if isinstance(found, griffe.Class) and _is_module(found):
        return fields.ModelReference()
    raise Unreadable(f"{path} is not understood")


def _is_layer(path: str) -> bool:
    """Return whether a full path is that of ``nn.Module`` or of another layer of ``torch.nn``, by its name."""
    module, _, name = path.rpartition(".")
    named = module == "torch.nn" and name[:1].isupper() and not name.endswith(("Parameter", "Buffer"))
    return named or path in _MODULE_NAMES


def _is_module(found: griffe.Class) -> bool:
    """Return whether a class inherits from ``nn.Module``."""
    for base in found.bases:
        path = full_path(str(base).partition("[")[0], found)
        if _is_layer(path):
            return True
        if path not in _NOT_IN_FILES and path != found.path:
            module, _, name = path.rpartition(".")
            with suppress(Unreadable):
                parent, _ = find_member(module, name)
                if isinstance(parent, griffe.Class) and _is_module(parent):
                    return True
    return False


def _table(found: griffe.Class) -> Any:
    """Return a TypedDict that pydantic can check; unknown keys are mistakes."""
    keys = {
        name: Any if (kind := _resolve(str(member.annotation), found)) is None else kind
        for name, member in found.members.items()
        if isinstance(member, griffe.Attribute)
    }
    make: Any = typing_extensions.TypedDict  # pydantic requires it before Python 3.12
    made = make(found.name, keys, total=found.keywords.get("total") != "False")
    made.__pydantic_config__ = pydantic.ConfigDict(extra="forbid")
    return made


def _mark(node: ast.expr, scope: griffe.Object) -> Any:
    if isinstance(node, ast.Call):
        arguments = [constant_value(argument, scope) for argument in node.args]
        keywords = {keyword.arg: constant_value(keyword.value, scope) for keyword in node.keywords if keyword.arg}
        return _named(ast.unparse(node.func), scope)(*arguments, **keywords)
    return constant_value(node, scope)


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _imported(target: str) -> Signature:
    """Read the signature of a target without source by importing it."""
    found = load_target(target)
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError) as error:
        raise PluginError(f"{target} cannot be used: it has no signature ({error})") from error
    read = {
        parameter.name: Parameter(
            parameter.name,
            Any,
            REQUIRED if parameter.default is parameter.empty else default_value(repr(parameter.default)),
            "",
            unchecked=f"does not say the type of {parameter.name} in a source that can be read",
        )
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    return Signature(read, (inspect.getdoc(found) or "").partition("\n")[0], "")
