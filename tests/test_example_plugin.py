"""`examples/dlpipe-example`, a plugin in a distribution of its own, works as a third party would use it."""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "dlpipe-example"
PYPROJECT = (EXAMPLE / "pyproject.toml").read_text()


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Run a command, and return what it writes; it must succeed."""
    answer = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-5000:]
    return answer.stdout


@pytest.fixture
def as_installed(tmp_path) -> tuple[Path, str]:
    """A copy of the example, and a path with which it is as if it were installed."""
    folder = tmp_path / "dlpipe-example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", "runs", "mlruns"))
    information = tmp_path / "site" / "dlpipe_example-0.1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: dlpipe-example\nVersion: 0.1.0\n")
    (information / "entry_points.txt").write_text("[dlpipe.plugins]\nseries = dlpipe_example.plugin\n")
    return folder, os.pathsep.join([str(folder), str(information.parent), *sys.path])


@pytest.mark.slow
def test_the_tests_of_the_example_pass(as_installed):
    folder, path = as_installed

    output = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=folder, PYTHONPATH=path)

    assert re.search(r"^\d+ passed", output, re.M), output


def test_the_check_of_plugins_has_nothing_against_the_example(as_installed):
    folder, path = as_installed

    output = run(sys.executable, "-m", "dlpipe", "plugins", "--check", "series", folder=folder, PYTHONPATH=path)

    assert "series" in output


def test_the_example_depends_on_one_minor_version():
    assert '"dlpipe>=0.1,<0.2"' in PYPROJECT
    assert (EXAMPLE / "dlpipe_example" / "py.typed").is_file()


def test_the_readme_of_the_example_repeats_the_scores_of_its_pipelines():
    readme = (EXAMPLE / "README.md").read_text()
    for name in ("seasonal.toml", "visitors.toml"):
        text = (EXAMPLE / name).read_text()
        scores = re.findall(r"\d\.\d{4}", "".join(re.findall(r"^# (?:score|baseline): .*", text, re.M)))

        assert len(scores) == 4
        assert f"| `{name}` | {', '.join(scores[:3])} | {scores[3]} |" in readme


@pytest.mark.slow
def test_the_example_works_from_its_wheel_in_a_fresh_environment(tmp_path):
    """Both distributions are built and installed; torch and the like come from the environment of this test."""
    wheels = tmp_path / "wheels"
    for source in (ROOT, EXAMPLE):
        run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, source, folder=tmp_path)
    fresh = tmp_path / "venv"
    run(sys.executable, "-m", "venv", fresh, folder=tmp_path)
    python = fresh / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(fresh), "platbase": str(fresh)}))
    # Behind the packages of the fresh environment; the lines of other .pth files, which name our sources, have no effect.
    shared = [sysconfig.get_path("purelib"), *site.getsitepackages()]
    (packages / "shared.pth").write_text("\n".join(dict.fromkeys(shared)))
    dlpipe, example = sorted(wheels.iterdir(), key=lambda path: path.name.startswith("dlpipe_example"))
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--ignore-installed", dlpipe, folder=tmp_path)
    run(python, "-m", "pip", "install", "-q", f"{example}[mlflow]", folder=tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    for name in ("tests", "seasonal.toml", "visitors.toml", "tracked.toml", "visitors.csv"):
        copy = shutil.copytree if (EXAMPLE / name).is_dir() else shutil.copy
        copy(EXAMPLE / name, work / name)

    places = run(
        python, "-c", "import dlpipe, dlpipe_example; print(dlpipe.__file__, dlpipe_example.__file__)", folder=work
    )
    assert places.count(str(packages)) == 2, places
    assert re.search(r"^series +ok +dlpipe-example 0.1.0", run(fresh / "bin" / "dlpipe", "plugins", folder=work), re.M)
    tested = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", folder=work)
    assert re.search(r"^\d+ passed(?!.*skipped)", tested, re.M), tested
    run(fresh / "bin" / "dlpipe", "run", "seasonal.toml", folder=work)
    (metrics,) = work.glob("runs/*/latest/metrics.jsonl")
    tested = json.loads(metrics.read_text().splitlines()[-1])
    assert tested["test/forecast/mase"] < 0.8 < tested["test/forecast/naive_mase"]
