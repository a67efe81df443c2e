"""Finding classes, functions and constants in source files, without importing them."""

from __future__ import annotations

import ast
import importlib.util
import logging
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import griffe

logging.getLogger("griffe").setLevel(logging.CRITICAL)  # it would comment on the docstrings of other packages


class Unreadable(Exception):
    """The answer is not in the source, or only running it would tell."""


def find_member(module: str, name: str) -> tuple[griffe.Object, Path]:
    """Return the parsed class, function or attribute `name` of `module`, and its file; imports are followed.

    Raises:
        Unreadable: there is no source, or no such name in it.
    """
    parsed, name, file = _follow_imports(module, name)
    member = parsed.members.get(name)
    if not isinstance(member, griffe.Object):
        raise Unreadable(f"{parsed.path} has no {name}")
    return member, file


def find_constant(module: str, name: str) -> tuple[ast.expr, griffe.Module]:
    """Return the value of a module's constant as an expression, and the module that defines it.

    Raises:
        Unreadable: there is no such constant, or it is assigned more than once, or under a condition.
    """
    parsed, name, file = _follow_imports(module, name)
    tree = _tree(file)
    values = [value for statement in tree.body for known, value in _assigned(statement) if known == name]
    if len(values) != 1 or [*_bound(tree)].count(name) != 1:
        raise Unreadable(f"{parsed.path}.{name} is not a constant")
    return values[0], parsed


def _follow_imports(module: str, name: str) -> tuple[griffe.Module, str, Path]:
    """Return the module in which a name is defined, its name there, and the file."""
    seen = set()
    while (module, name) not in seen:
        seen.add((module, name))
        file = source_file(module)
        parsed = _parse(module, file)
        member = parsed.members.get(name)
        if not isinstance(member, griffe.Alias):
            return parsed, name, file
        module, _, name = member.target_path.rpartition(".")
    raise Unreadable(f"{module} imports {name} from itself")


def full_path(name: str, scope: griffe.Object) -> str:
    """Return the full path of a name used in `scope`: ``nn.Module`` is ``torch.nn.Module``."""
    first, dot, rest = name.partition(".")
    member = scope.module.members.get(first)
    start = member.target_path if isinstance(member, griffe.Alias) else f"{scope.module.path}.{first}"
    return start + dot + rest


def super_call(init: griffe.Function) -> ast.Call | None:
    """Return the call ``super().__init__(…, **kwargs)`` of a constructor; None if it passes no ``**kwargs`` on."""
    taken = [each.name for each in init.parameters if each.kind is griffe.ParameterKind.var_keyword]
    if not taken or not isinstance(init.filepath, Path):
        return None
    scope: ast.AST = _tree(init.filepath)
    for name in init.path.removeprefix(f"{init.module.path}.").split("."):
        named = [each for each in ast.iter_child_nodes(scope) if getattr(each, "name", None) == name]
        if not named:
            return None
        scope = named[-1]
    return next((call for call in ast.walk(scope) if isinstance(call, ast.Call) and _passes_on(call, taken[0])), None)


def _passes_on(call: ast.Call, kwargs: str) -> bool:
    """Return whether a call is ``super().__init__(…, **kwargs)``."""
    to_super = ast.unparse(call.func).startswith("super(") and ast.unparse(call.func).endswith(").__init__")
    return to_super and any(each.arg is None and ast.unparse(each.value) == kwargs for each in call.keywords)


@cache
def source_file(module: str) -> Path:
    """Return the source file of a module without importing it.

    Raises:
        Unreadable: there is none.
    """
    top, *rest = module.split(".")
    if module in sys.modules and getattr(sys.modules[module], "__file__", None):
        return Path(str(sys.modules[module].__file__))
    try:
        spec = importlib.util.find_spec(top)  # a top-level name: this imports nothing
    except (ImportError, ValueError) as error:
        raise Unreadable(f"no module {top}: {error}") from error
    if spec is None:
        raise Unreadable(f"no module {top}")
    paths = [Path(spec.origin)] if spec.origin and not rest else []
    for folder in spec.submodule_search_locations or ():  # several, or without an __init__.py, for a namespace package
        path = Path(folder, *rest)
        paths += [path / "__init__.py", path.with_name(path.name + ".py")] if rest else []
    for path in paths:
        if path.suffix == ".py" and path.is_file():
            return path
    raise Unreadable(f"no source of {module}")


@cache
def _parse(module: str, file: Path) -> griffe.Module:
    try:
        # Without this import griffe would take every string in an annotation for a type: OnlyWith(kind="a").
        code = f"from __future__ import annotations\n{file.read_text(encoding='utf-8')}"
        return griffe.visit(module, filepath=file, code=code)
    except (OSError, SyntaxError, ValueError) as error:
        raise Unreadable(f"{file}: {error}") from error


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that a statement assigns and their values, as in ``WIDTH, HEIGHT = 8, 6``."""
    pairs: list[tuple[ast.expr, ast.expr]]
    if isinstance(statement, ast.AnnAssign) and statement.value:
        pairs = [(statement.target, statement.value)]
    elif isinstance(statement, ast.Assign):
        pairs = [(target, statement.value) for target in statement.targets]
    else:
        return
    for target, value in pairs:
        if isinstance(target, ast.Name):
            yield target.id, value
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            yield from (
                (part.id, own) for part, own in zip(target.elts, value.elts, strict=True) if isinstance(part, ast.Name)
            )


def _bound(tree: ast.Module) -> Iterator[str]:
    """Yield a name for every assignment, deletion and import of it anywhere in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Global):
            yield from node.names
