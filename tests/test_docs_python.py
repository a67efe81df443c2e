"""The examples of docs/python.md run, from the first to the last, and a type checker understands them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python.md").read_text(), re.M | re.S)
EXAMPLE = "\n".join(block for block in BLOCKS if "# not run" not in block)

TYPED = """
from typing import Any, assert_type

import dlpipe

run = dlpipe.load("p.toml", "trainer.epochs=3", {"seed": 1}).check().run(fast=True)
assert_type(run.metrics["step"], list[Any])
assert_type(run.metrics[-1:], dlpipe.Table)
assert_type(run.scores["digits/accuracy"], float)
assert_type(run.predict("one"), dict[str, Any])
assert_type(run.predict(["one", "two"]), list[dict[str, Any]])
assert_type(run.resume(), dlpipe.Run)
assert_type(dlpipe.compare(run, "other").verdicts, list[str])
"""


@pytest.mark.slow
def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (20, 20), 255).save("seven.png")
    (tmp_path / "example.py").write_text(EXAMPLE)

    answer = subprocess.run([sys.executable, "-W", "error", "example.py"], capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stderr
    assert "0.005 override" in answer.stdout
    assert "override: [model] dropout = 1.5: expected a number of at least 0 and below 1" in answer.stdout
    assert {path.name for path in tmp_path.glob("runs/*")} == {"slot-filling", "python-digits", "mine"}
    assert (tmp_path / "exported" / "export.json").is_file()


@pytest.mark.slow
def test_a_type_checker_knows_what_each_call_returns(tmp_path, mypy_cache):
    pytest.importorskip("mypy")
    (tmp_path / "example.py").write_text(TYPED)

    with mypy_cache.options() as options:
        command = [sys.executable, "-m", "mypy", *options, "--config-file=", "example.py"]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stdout
