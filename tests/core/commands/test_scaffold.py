"""`dlpipe new plugin` writes a plugin that works, and refuses names that could not."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest

from dlpipe.commands.scaffold import COMPONENTS, _bounds, create_plugin
from dlpipe.config.plugin_check import check_plugin
from dlpipe.errors import InputError
from dlpipe.registry.loading import GROUP, load_plugins

PAGE = Path(__file__).resolve().parents[3] / "docs" / "plugins.md"
CHOICES = [*([kind] for kind in COMPONENTS), [*COMPONENTS]]
name_of = "_".join


@pytest.fixture(scope="module")
def registry():
    return load_plugins()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text", 'the namespace "text" is taken by dlpipe'),
        ("core", 'the namespace "core" is taken by dlpipe'),
        ("class", '"class" is reserved'),
        ("stand_in_data", '"stand_in_data" is reserved'),
        ("my-plugin", 'expected lower-case letters, digits and _. Did you mean "my_plugin"?'),
        ("dlpipe-mine", 'Did you mean "mine"?'),
        ("Mine", 'Did you mean "mine"?'),
        ("1st", "expected lower-case letters, digits and _"),
        ("../up", "expected lower-case letters, digits and _"),
        ("", "expected lower-case letters, digits and _"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(tmp_path, registry, name, message):
    with pytest.raises(InputError, match=re.escape(message)):
        create_plugin(name, [], registry, tmp_path)

    assert not [*tmp_path.iterdir()]


def test_a_command_of_dlpipe_and_a_package_that_exists_are_taken(tmp_path, registry, monkeypatch):
    (tmp_path / "dlpipe_there").mkdir()
    (tmp_path / "dlpipe_there" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(InputError, match='has a command "sweep"'):
        create_plugin("sweep", ["command"], registry, tmp_path)
    with pytest.raises(InputError, match="a package dlpipe_there can be imported already"):
        create_plugin("there", [], registry, tmp_path)
    create_plugin("sweep", ["model"], registry, tmp_path)


def test_an_existing_folder_is_never_changed(tmp_path, registry):
    (tmp_path / "dlpipe-mine").mkdir()

    with pytest.raises(InputError, match="dlpipe-mine already exists; choose another name, or remove it"):
        create_plugin("mine", [], registry, tmp_path)

    assert not [*(tmp_path / "dlpipe-mine").iterdir()]


def test_what_cannot_be_written_completely_leaves_nothing(tmp_path, registry, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)

    with pytest.raises(InputError, match="dlpipe-mine cannot be written: No space left on device"):
        create_plugin("mine", [], registry, tmp_path)
    assert not [*tmp_path.iterdir()]


def test_the_files_are_those_of_a_distribution(tmp_path, registry):
    folder = create_plugin("my_own", [], registry, tmp_path)

    assert folder.name == "dlpipe-my-own"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        ".github/workflows/test.yml",
        ".gitignore",
        "CHANGELOG.md",
        "README.md",
        "dlpipe_my_own/__init__.py",
        "dlpipe_my_own/accuracy.py",
        "dlpipe_my_own/mlp.py",
        "dlpipe_my_own/plugin.py",
        "dlpipe_my_own/py.typed",
        "dlpipe_my_own/spirals.py",
        "my_own.toml",
        "pyproject.toml",
        "tests/test_components.py",
    ]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "dlpipe-my-own"
    assert project["entry-points"] == {GROUP: {"my_own": "dlpipe_my_own.plugin"}}
    assert project["dependencies"] == [f"dlpipe{_bounds(metadata.version('dlpipe'))}"]
    assert not [path for path in folder.rglob("*") if path.is_file() and re.search("@[A-Z]+@", path.read_text())]


def test_the_bounds_end_before_the_next_incompatible_version():
    assert [_bounds(version) for version in ("0.1.0", "0.12.3.dev1", "2.3.1")] == [
        ">=0.1,<0.2",
        ">=0.12,<0.13",
        ">=2.3,<3",
    ]


@pytest.mark.parametrize("kinds", CHOICES, ids=name_of)
def test_a_new_plugin_has_no_findings(tmp_path, registry, monkeypatch, kinds):
    name = f"new_{name_of(kinds)}"
    folder = create_plugin(name, kinds, registry, tmp_path)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))
    importlib.invalidate_caches()

    loaded = load_plugins(entry_points=[metadata.EntryPoint(name, f"dlpipe_{name}.plugin", GROUP)])
    (plugin,) = loaded.plugins

    assert plugin.status == "ok", plugin
    assert check_plugin(loaded, plugin) == ([], [])
    assert {kind for kind, components in loaded.components.items() if components} == set(kinds)


@pytest.mark.parametrize("kinds", CHOICES, ids=name_of)
def test_a_new_plugin_passes_ruff(tmp_path, registry, kinds):
    ruff = shutil.which("ruff") or pytest.skip("ruff is not installed")
    folder = create_plugin(f"formatted_{name_of(kinds)}", kinds, registry, tmp_path)

    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([ruff, *command, "--no-cache", "."], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_components_are_those_of_the_documentation(tmp_path, registry):
    folder = create_plugin("spirals_copy", [*COMPONENTS], registry, tmp_path) / "dlpipe_spirals_copy"

    for module in ("spirals", "mlp", "accuracy", "signum"):
        assert f"# dlpipe_spirals/{module}.py\n{(folder / f'{module}.py').read_text()}```" in PAGE.read_text(), module


def test_the_command_lists_the_files_and_the_next_steps(tmp_path):
    def dlpipe(*arguments):
        command = [sys.executable, "-m", "dlpipe", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    answer = dlpipe("new", "plugin", "mine", "--model")

    assert "dlpipe-mine/dlpipe_mine/plugin.py" in answer.stdout
    assert answer.stderr.endswith(
        'Next:\n  cd dlpipe-mine\n  pip install -e ".[dev]"\n  dlpipe run mine.toml --allow-local-plugins\n  pytest\n'
    )
    assert dlpipe("new", "plugin", "mine").returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("kinds", CHOICES, ids=name_of)
def test_a_user_installs_tests_and_runs_a_new_plugin(tmp_path, registry, mypy_cache, kinds):
    name = f"new_{name_of(kinds)}"
    folder = create_plugin(name, kinds, registry, tmp_path)
    builder = venv.EnvBuilder(with_pip=False)
    builder.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    packages = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    # What this process can import besides the standard library, dlpipe and torch among it.
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    outer = [
        path for path in sys.path if Path(path).is_dir() and path not in standard and not path.endswith("lib-dynload")
    ]
    (packages / "outer.pth").write_text("\n".join(filter(None, outer)))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # Without the build backend here, pip fetches it.
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    allowed = [] if {"data", "model"} <= set(kinds) else ["--allow-local-plugins"]

    def succeeds(*command: str) -> None:
        done = subprocess.run([python, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    succeeds("pip", "install", "-q", "--no-deps", *isolation, ".")
    succeeds("pytest", "-q", "-p", "no:cacheprovider")
    succeeds("dlpipe", "run", f"{name}.toml", *allowed)
    if importlib.util.find_spec("mypy"):
        with mypy_cache.options() as options:
            succeeds("mypy", *options, "-p", f"dlpipe_{name}")
