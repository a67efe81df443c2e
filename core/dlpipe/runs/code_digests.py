"""Digests of the code that decides a result: dlpipe, the plugins that a pipeline uses, and what these import."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

#: Always recorded; the versions of other distributions are, if the code uses them.
CORE_DISTRIBUTIONS = ("dlpipe", "torch", "numpy", "safetensors")
#: Where pip and Debian's packages install.
_INSTALLED_NAMES = ("site-packages", "dist-packages")
#: An import as Python writes it, or something like it in a text; and a line that goes on in the next one.
_IMPORT = re.compile(r"\bfrom[ \t\f]+([\w.]+)[ \t\f]+import\b|\bimport[ \t\f]+([\w., \t\f]+)")
_LINE_JOIN = re.compile(r"\\\r?\n")
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib"))


def code_identity(packages: Iterable[tuple[str, str]], local_plugins: Iterable[Path]) -> dict[str, str]:
    """Return digests of code and versions of distributions, by readable names.

    Versions do not distinguish two states of an editable installation, and the git state changes with every line of
    a pipeline file. So what can be edited is digested: dlpipe, the packages of plugins, local plugins, and all modules
    that these import, directly or not, from outside the standard library and ``site-packages``. What is installed
    there is identified by its version.

    Args:
        packages: (namespace, package) of the installed plugins that are used.
        local_plugins: Python files.
    """
    found = {"the code of dlpipe": package_digest("dlpipe")}
    imported: set[str] = set()
    for namespace, package in packages:
        found[f"the code of plugin {namespace}"] = package_digest(package)
        if not _is_installed(package):
            imported |= _package_imports(package) - {package}
    for plugin in local_plugins:
        # Not cached: a local plugin that was edited is another module, also in the same process.
        found[f"the code of plugin {plugin.stem}"] = hashlib.sha256(plugin.read_bytes()).hexdigest()
        imported |= _imports([plugin])
    return found | _imported_identity(imported, {plugin.parent for plugin in local_plugins})


def _imported_identity(names: Iterable[str], folders: Iterable[Path]) -> dict[str, str]:
    """Return digests of the modules of these names that can be edited, with all that they import, and versions."""
    found: dict[str, str] = {}
    queue, seen = sorted(names), {"dlpipe", *sys.stdlib_module_names}
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        # A folder of local plugins may be on ``sys.path`` only while these import.
        places = _places(name) or [place for folder in folders for place in (folder / name, folder / f"{name}.py")]
        version = distribution_version(name)
        if _is_installed(name) and version:
            found[f"the version of {name}"] = version
        elif _is_installed(name):  # its distribution has another name, and finding that would take a second
            found[f"the code of {name}"] = _digest([file for place in places for file in place.glob("*.py")])
        elif files := _code_in(places):
            found[f"the code of {name}"] = package_digest(name) if _places(name) else _digest(files)
            queue += sorted(_package_imports(name) if _places(name) else _imports(files))
    return found


@cache  # a process imports a module once: what is edited later has no effect on it
def package_digest(module: str) -> str:
    """Return a sha256 over all files of code of a package, or of a single module."""
    return _digest(_code_in(_places(module)))


@cache
def _package_imports(module: str) -> frozenset[str]:
    """Return the top-level names that a package, or a single module, imports."""
    return frozenset(_imports(_code_in(_places(module))))


def distribution_version(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _digest(files: Iterable[Path]) -> str:
    """Return a sha256 over the content of files and their names below their common folder."""
    files = sorted(files)
    root = min((file.parent for file in files), key=lambda folder: len(folder.parts), default=Path())
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@cache
def _places(module: str) -> tuple[Path, ...]:
    """Return the folders or the file of a top-level package or module, as Python imports it; none of a built-in one."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    if spec is None:
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(module)
    if spec is None:
        return ()
    return tuple(map(Path, spec.submodule_search_locations or ([spec.origin] if spec.has_location else [])))


def _code_in(places: Iterable[Path]) -> list[Path]:
    """Return the files of code among files and below folders."""
    found = [path for place in places for path in ([place] if place.is_file() else place.rglob("*"))]
    return [path for path in found if path.suffix in (".py", ".so", ".pyd") and path.is_file()]


def _imports(files: Iterable[Path]) -> set[str]:
    """Return the top-level names that Python files import, anywhere in them.

    Only a file that may add a name is parsed, which takes a hundred times as long as a search.
    """
    names: set[str] = set()
    for file in files:
        if file.suffix != ".py":
            continue
        content = file.read_bytes()
        if (possible := _may_import(content)) is not None and possible <= names:
            continue
        with contextlib.suppress(SyntaxError, ValueError):  # such a file cannot be imported either
            for node in ast.walk(ast.parse(content)):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.partition(".")[0])
    return names


def _may_import(content: bytes) -> set[str] | None:
    """Return the names that a file imports, and words of its texts that may be some; None if it is not UTF-8."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    found = set()
    for module, listed in _IMPORT.findall(_LINE_JOIN.sub(" ", text)):
        for name in [module] if module else listed.split(","):
            found.add(name.strip().partition(" ")[0].partition(".")[0])
    return found - {""}


def _is_installed(module: str) -> bool:
    """Return whether a module is in ``site-packages``, and not only linked from there to an editable folder.

    That may be the ``site-packages`` of another environment, which ``PYTHONPATH`` or a ``.pth`` file adds.
    """
    return any(
        folder in _INSTALLED or folder.name in _INSTALLED_NAMES
        for place in _places(module)
        for folder in place.resolve().parents
    )
