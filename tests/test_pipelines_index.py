"""The table of all pipelines is up to date, and its scores are those of the documentation."""

from __future__ import annotations

import importlib.util
import itertools
import re
from pathlib import Path

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.config.source import read_source
from dlpipe.registry.loading import load_plugins
from dlpipe.sweep.plan import load_sweep

from .conftest import needs_atari

ROOT = Path(__file__).resolve().parents[1]
PIPELINES = sorted((ROOT / "pipelines").rglob("*.toml"))


def load_generator():
    spec = importlib.util.spec_from_file_location("pipelines_index", ROOT / "pipelines" / "index.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()


def numbers(text: str) -> list[str]:
    return re.findall(r"-?\d[\d.,]*\d|\d", text.replace("−", "-"))


def test_the_table_of_pipelines_is_up_to_date():
    # If this fails: python pipelines/index.py
    assert (ROOT / "pipelines" / "README.md").read_text() == GENERATOR.index()


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_the_scores_in_a_header_are_those_of_its_page(path):
    header = GENERATOR.read_header(path)

    known = numbers((ROOT / header["docs"]).read_text())
    assert [number for number in numbers(header["score"] + " " + header["baseline"]) if number not in known] == []


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_the_command_in_a_header_fits_the_file(path):
    program, command, file, *options = GENERATOR.read_header(path)["command"].split()
    assignments = [value for option, value in itertools.pairwise(options) if option == "--set"]
    allowed = "--allow-local-plugins" in options

    assert program == "dlpipe"
    assert ROOT / file == path
    assert command == ("sweep" if "sweep" in read_source(path).values else "run")
    if path.stem in ("dqn_pong", "ppo_pong"):
        needs_atari()
    load_pipeline(path, load_plugins(), assignments, allow_local_plugins=allowed)
    if command == "sweep":
        load_sweep(path, load_plugins(), assignments, allow_local_plugins=allowed)


def test_a_header_without_a_score_is_refused(tmp_path):
    path = tmp_path / "pipeline.toml"
    path.write_text("#:schema x\n# A sentence.\n# command: dlpipe run x\n")

    with pytest.raises(ValueError, match="has the fields command; expected one line each of command, score"):
        GENERATOR.read_header(path)


def test_a_header_whose_fields_come_before_the_details_is_refused(tmp_path):
    path = tmp_path / "pipeline.toml"
    fields = [f"# {key}: x" for key in GENERATOR.KEYS]
    path.write_text("\n".join(["#:schema x", "# A sentence.", *fields, "# Details."]))

    with pytest.raises(ValueError, match="expected a sentence, details if needed, and the fields"):
        GENERATOR.read_header(path)
