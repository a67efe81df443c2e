"""The rules of the layout: who may import whom, and what must stay light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "core").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))


def imported_by(path: Path) -> set[str]:
    """Return the modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_imports_no_plugin(path):
    assert not [name for name in imported_by(path) if name.startswith("dlpipe_")]


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_no_other_plugin(path):
    own = path.relative_to(ROOT / "plugins").parts[1]

    assert not [name for name in imported_by(path) if name.startswith("dlpipe_") and name.split(".")[0] != own]


def test_only_the_package_and_a_readme_stand_in_a_plugin_folder():
    for folder in (ROOT / "plugins").iterdir():
        # An editable install puts this folder on the path: whatever lies there becomes importable.
        assert {entry.name for entry in folder.iterdir()} <= {f"dlpipe_{folder.name}", "README.md"}


def test_plugin_modules_import_neither_torch_nor_numpy():
    modules = ["dlpipe.plugin", *(f"{path.parent.name}.plugin" for path in PLUGINS if path.name == "plugin.py")]
    code = f"import sys, {', '.join(modules)}; print(sorted({{'torch', 'numpy'}} & set(sys.modules)))"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"


def test_no_import_cycle_hides_in_a_function():
    for path in CORE + PLUGINS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]:
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dlpipe"):
                    pytest.fail(f"{path.name}:{node.lineno} imports {node.module} inside {function.name}()")


def test_nothing_unpickles():
    pattern = re.compile(r"pickle\.loads?\(|weights_only\s*=\s*False")
    for path in CORE + PLUGINS:
        assert not pattern.search(path.read_text(encoding="utf-8")), path
