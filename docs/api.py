"""Write api.md next to this file: the public modules of dlpipe with their signatures and docstrings.

    python docs/api.py

The signatures alone are what a plugin depends on; tests/core/api.txt keeps them, and a test compares.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pluggy import HookimplMarker

from dlpipe.fields import describe
from dlpipe.registry.hooks import API, ComponentHooks, Lifecycle

FOLDER = Path(__file__).resolve().parent
MODULES = (
    "dlpipe",
    "dlpipe.errors",
    "dlpipe.fields",
    "dlpipe.protocols",
    "dlpipe.data",
    "dlpipe.training",
    "dlpipe.evaluation",
    "dlpipe.coach",
    "dlpipe.compute",
    "dlpipe.figures",
    "dlpipe.layers",
    "dlpipe.recurrent",
    "dlpipe.report_items",
    "dlpipe.messages",
    "dlpipe.progress",
    "dlpipe.json_text",
    "dlpipe.local_plugins",
    "dlpipe.testing",
)
INTRODUCTION = f"""# Reference of the plugin interface

<!-- Written by `python docs/api.py` from the docstrings; edit those. -->

Plugin API {API[0]}.{API[1]}. What a plugin may import, module by module, and the hooks that it may implement.
[Write a plugin](plugins.md) explains how it belongs together, and
[the stability promise](plugins.md#the-stability-promise) says what may change when.
"""
HOOKS = {"Hooks of a plugin": ComponentHooks, "Hooks of a callback": Lifecycle}
#: Sections of a docstring whose lines are a list of names.
SECTIONS = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Example):")


def signatures() -> list[str]:
    """Return one line for each public name and each public member of it."""
    return [
        f"{module}.{name}{tail}"
        for module in MODULES
        for name in sorted(importlib.import_module(module).__all__)
        for tail in _lines_of(getattr(importlib.import_module(module), name))
    ] + [f"hook {name}{_signature(hook)}" for group in HOOKS.values() for name, hook in members(group)]


def page() -> str:
    """Return the text of api.md."""
    parts = [INTRODUCTION]
    for module in MODULES:
        loaded = importlib.import_module(module)
        parts.append(f"## {module}\n\n{_markdown(inspect.getdoc(loaded) or '')}\n")
        parts += [_entry(name, getattr(loaded, name), module) for name in sorted(loaded.__all__)]
    for heading, group in HOOKS.items():
        parts.append(f"## {heading}\n\n{_markdown(inspect.getdoc(group) or '')}\n")
        parts += [_entry(name, hook, "") for name, hook in members(group)]
    return "\n".join(parts)


def members(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, those that dlpipe's own base classes define included."""
    seen: set[str] = set()
    for base in thing.__mro__ if inspect.isclass(thing) else ():
        for name, member in vars(base).items() if base.__module__.startswith("dlpipe") else ():
            if name.startswith("_") or name in seen or not _is_member(member):
                continue
            seen.add(name)
            yield name, member


def _is_member(member: Any) -> bool:
    return isinstance(member, (property, classmethod, staticmethod)) or inspect.isfunction(member)


def _lines_of(thing: Any) -> Iterator[str]:
    yield _signature(thing)
    for name, member in sorted(members(thing), key=lambda pair: pair[0]):
        yield f".{name}{_signature(member)}"


def _signature(thing: Any) -> str:
    if isinstance(thing, property):
        returned = inspect.signature(thing.fget).return_annotation if thing.fget else ""
        return f": {returned}"
    thing = thing.__func__ if isinstance(thing, (classmethod, staticmethod)) else thing
    if inspect.isfunction(thing) or inspect.isclass(thing):
        if isinstance(thing, type) and issubclass(thing, Exception):
            return f"({', '.join(base.__name__ for base in thing.__bases__)})"
        return "" if getattr(thing, "_is_protocol", False) else _plain(inspect.signature(thing))
    return f" = {_value(thing)}"


class _Unquoted(str):
    """An annotation that a signature shows without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _plain(signature: inspect.Signature) -> str:
    """Return a signature without the quotes around its annotations."""

    def unquoted(annotation: Any) -> Any:
        return _Unquoted(annotation) if isinstance(annotation, str) else annotation

    parameters = [each.replace(annotation=unquoted(each.annotation)) for each in signature.parameters.values()]
    plain = signature.replace(parameters=parameters, return_annotation=unquoted(signature.return_annotation))
    return re.sub(r"ForwardRef\('(.*?)'\)", r"\1", str(plain))


def _value(thing: Any) -> str:
    """Return a constant or a type in a form that does not depend on the versions of Python and pydantic."""
    if hasattr(thing, "__metadata__"):
        return describe(thing)
    if isinstance(thing, (str, int, float, tuple)):
        return repr(thing)
    if isinstance(thing, HookimplMarker):
        return "a decorator"
    return re.sub(r"\b(?:typing|collections\.abc|dlpipe(?:\.\w+)+)\.", "", str(thing))


def _entry(name: str, thing: Any, module: str) -> str:
    text = f"### {name}\n\n```text\n{name}{_signature(thing)}\n```\n"
    own = inspect.getdoc(thing) if inspect.isclass(thing) or inspect.isfunction(thing) else _comment(module, name)
    text += f"\n{_markdown(own or '')}\n"
    for member, value in members(thing):
        described = _markdown(inspect.getdoc(value) or "").replace("\n", "\n  ")
        text += f"\n* **`{member}{_signature(value)}`**" + (f": {described}" if described else "")
    return text.rstrip() + "\n"


def _comment(module: str, name: str) -> str:
    """Return the ``#:`` comment above the assignment of a constant, wherever the module imports it from."""
    for source in [module, *(f"{module}.{path.stem}" for path in _files_of(module))]:
        found = re.search(
            rf"((?:^#: .*\n)+){name}(?:: .*)? = ", inspect.getsource(importlib.import_module(source)), re.M
        )
        if found:
            return " ".join(line.removeprefix("#: ") for line in found[1].splitlines())
    return ""


def _files_of(module: str) -> list[Path]:
    loaded = importlib.import_module(module)
    return sorted(Path(loaded.__path__[0]).glob("[a-z]*.py")) if hasattr(loaded, "__path__") else []


def _markdown(docstring: str) -> str:
    """Return a docstring as Markdown: sections become lists, code in double quotes becomes code."""
    lines: list[str] = []
    section = ""
    for line in re.sub(r"``", "`", docstring).splitlines():
        if found := SECTIONS.fullmatch(line.rstrip(":").rstrip() + ":"):
            section = found[1]
            lines.append(f"**{section}**\n")
        elif section in ("Args", "Attributes", "Raises") and (item := re.fullmatch(r"    (\S[\w*, ]*): (.*)", line)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif section and section != "Example":
            lines.append(f"  {line.strip()}" if line.startswith("      ") else line.strip())
        else:
            lines.append(line)
    return "\n".join(lines).strip()


if __name__ == "__main__":
    (FOLDER / "api.md").write_text(page(), encoding="utf-8")
    (FOLDER.parent / "tests" / "core" / "api.txt").write_text("\n".join([f"plugin API {API}", *signatures(), ""]))
