"""The plugin that docs/plugins.md builds works, and its commands print what the page shows."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dlpipe.errors import PluginError
from dlpipe.registry.loading import load_local_plugin, load_plugins

from .test_layout import assert_public_imports

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = "\n".join(path.read_text() for path in (DOCS / "plugins.md", *sorted((DOCS / "plugins").glob("*.md"))))
#: Code blocks whose first line names their file.
FILES = dict(re.findall(r"^```(?:python|toml)\n# (\S+\.(?:py|toml))\n(.*?)^```", PAGE, re.M | re.S))
#: Commands and the lines that follow them, in the order of the page.
COMMANDS = [
    command
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.M | re.S)
    for command in re.findall(r"^\$ (dlpipe .*)\n((?:(?!\$ ).*\n)*)", block, re.M)
]
LOCAL = [command for command in COMMANDS if "local.toml" in command[0]]
INSTALLED = [command for command in COMMANDS if command not in LOCAL]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The folder that the page shows, as if the package were installed."""
    folder = tmp_path_factory.mktemp("dlpipe-spirals")
    information = folder / "dlpipe_spirals-0.1.0.dist-info"
    for path in (folder / "dlpipe_spirals", information):
        path.mkdir()
    (folder / "dlpipe_spirals" / "__init__.py").touch()
    for name, text in FILES.items():
        (folder / name).write_text(f"# {name}\n{text}")  # line numbers in messages count the first line
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: dlpipe-spirals\nVersion: 0.1.0\n")
    (information / "entry_points.txt").write_text("[dlpipe.plugins]\nspirals = dlpipe_spirals.plugin\n")
    return folder


@pytest.fixture(scope="module")
def local_project(tmp_path_factory) -> Path:
    """The same classes and hooks in one file."""
    folder = tmp_path_factory.mktemp("local")
    code = "".join(text for name, text in FILES.items() if name.startswith("dlpipe_spirals/"))
    (folder / "spirals.py").write_text(re.sub(r'"dlpipe_spirals\.\w+:', '":', code))
    for name in ("spirals.toml", "local.toml"):
        (folder / name).write_text(f"# {name}\n{FILES[name]}")
    return folder


def run(project: Path, *command: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(project), *sys.path])}
    answer = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    return answer.stderr + answer.stdout


def without_numbers(text: str) -> str:
    """Mask what differs from machine to machine: numbers, the names of run folders, and which score is the best."""
    text = re.sub(r"\d{4}-\d\d-\d\d_\d{6}-[a-z0-9]{4}", "RUN", text)
    return re.sub(r" +", " ", re.sub(r" +\*$", "", re.sub(r"\d+(?:[.,]\d+)*", "#", text), flags=re.M)).strip()


def assert_shows(output: str, shown: str) -> None:
    """Check that an output is what the page shows, where "…" stands for any number of lines."""
    parts = [re.escape(without_numbers(part)) for part in re.split(r"^ *…$", shown, flags=re.M)]
    assert re.fullmatch(r"\s*" + r"(?:.*\n)*?\s*".join(parts) + r"\s*", without_numbers(output) + "\n"), output


def execute(project: Path, commands: list[tuple[str, str]]) -> None:
    for command, shown in commands:
        arguments = [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', command)]
        assert_shows(run(project, sys.executable, "-m", *arguments), shown)


def test_the_page_shows_a_whole_plugin():
    names = ("plugin", "spirals", "mlp", "accuracy", "signum")

    assert {f"dlpipe_spirals/{name}.py" for name in names} < set(FILES)
    assert len(INSTALLED) == 13
    assert len(LOCAL) == 2


@pytest.mark.slow
def test_the_commands_of_the_page_print_what_it_shows(project):
    execute(project, INSTALLED)


def test_the_plugin_works_as_a_single_file(local_project):
    execute(local_project, LOCAL)


def test_the_tests_of_the_page_pass(project):
    output = run(project, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not kills")

    (count,) = re.findall(r"^\$ pytest\n(\d+) passed$", PAGE, re.M)
    assert f"{int(count) - 1} passed" in output, output


@pytest.mark.slow
def test_the_trainer_of_the_page_survives_kills(project):
    output = run(project, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "kills")

    assert "1 passed" in output, output


def test_the_code_of_the_page_uses_public_names_only():
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S):
        assert_public_imports(ast.parse(block))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("@hookimpl\ndef dlpipe_model(): return []", "unknown hook 'dlpipe_model'. Did you mean \"dlpipe_models\"?"),
        ("def dlpipe_models(): return []", "dlpipe_models() is missing the @hookimpl decorator"),
        (
            "@hookimpl\ndef dlpipe_models(): return None",
            "dlpipe_models() returned None; expected a list of ModelSpec records",
        ),
        (
            "@hookimpl\ndef dlpipe_models(config): return []",
            "dlpipe_models() has the argument 'config'; this hook provides: none",
        ),
        ("import not_installed", "ModuleNotFoundError: No module named 'not_installed'"),
        (
            "@hookimpl\ndef dlpipe_models(): return 2 * [ModelSpec('mlp', ':MLP', 'a model')]",
            "dlpipe_models() offers the name 'mlp' twice",
        ),
        ("DLPIPE_API = (9, 0)", "needs plugin API 9.0, this dlpipe provides 1.0; upgrade dlpipe"),
    ],
    ids=["misspelled", "no decorator", "None", "argument", "import", "twice", "newer"],
)
def test_the_page_has_the_message_for_a_mistake(tmp_path, code, message):
    path = tmp_path / "broken.py"
    path.write_text(f"from dlpipe import ModelSpec, hookimpl\n{code}\n")

    with pytest.raises(PluginError, match=re.escape(message)):
        load_local_plugin(load_plugins(), path)
    assert f"`{message}`" in PAGE
