"""What the docs show is true: pipelines in them check, code in them compiles, links lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.registry.hooks import ComponentHooks, Lifecycle
from dlpipe.registry.loading import load_plugins

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (page and number, text) of all fenced blocks in a language."""
    return [
        (f"{page.name}-{number}", text)
        for page in PAGES
        for number, text in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S), start=1)
    ]


PIPELINES = [block for block in blocks("toml") if "[project" not in block[1]]


@pytest.mark.parametrize("text", [text for _, text in PIPELINES], ids=[name for name, _ in PIPELINES])
def test_a_pipeline_in_the_docs_has_no_mistakes(text, tmp_path):
    file = tmp_path / "pipeline.toml"
    file.write_text(text)
    for path in (ROOT / "pipelines").glob("*.toml"):  # those that an example extends
        (tmp_path / path.name).write_text(path.read_text())

    load_pipeline(file, load_plugins())


@pytest.mark.parametrize("text", [text for _, text in blocks("python")], ids=[name for name, _ in blocks("python")])
def test_code_in_the_docs_is_python(text):
    ast.parse(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_every_hook_is_in_the_docs():
    text = (ROOT / "docs" / "plugins.md").read_text()

    for specs in (ComponentHooks, Lifecycle):
        for name in vars(specs):
            assert not name.startswith("dlpipe_") or f"`{name}`" in text or f"def {name}()" in text, name


def test_every_command_is_in_the_docs():
    text = "".join(page.read_text() for page in PAGES)

    for name in load_plugins().components["command"]:
        assert f"dlpipe {name}" in text, name


def test_every_file_of_the_core_is_in_the_architecture():
    text = (ROOT / "docs" / "architecture.md").read_text()

    for path in (ROOT / "core" / "dlpipe").glob("*.py"):
        if path.stem not in ("__init__", "__main__", "plugin"):
            assert f"`{path.stem}`" in text, path.stem
