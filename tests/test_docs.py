"""The documentation is true: its pipelines check, its code parses, its links lead somewhere, and nothing is left out."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typing_extensions import get_protocol_members

from dlpipe.config.check import load_pipeline
from dlpipe.config.plugin_check import COMPONENT_RULES
from dlpipe.data.model_caller import MODEL_METHODS
from dlpipe.engine.conformance import OPTIONAL, REQUIRED
from dlpipe.engine.execute import dry_run
from dlpipe.errors import DataError
from dlpipe.registry.hooks import ComponentHooks, Lifecycle
from dlpipe.registry.loading import load_plugins
from dlpipe.registry.specs import KINDS
from dlpipe.testing.checks import LIGHT, LOADED, RULES, USED

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(path for name in ("docs", "pipelines", "examples") for path in (ROOT / name).rglob("*.md"))]
)
CORE = ROOT / "core" / "dlpipe"
MODULES = [path for path in CORE.rglob("*.py") if path.stem not in ("__init__", "__main__")]


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (page and number, text) of all fenced blocks in a language."""
    return [
        (f"{page.name}-{number}", text)
        for page in PAGES
        for number, text in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S), start=1)
    ]


#: Blocks whose first line names a file are parts of a larger example, which tests/test_docs_plugin.py runs.
PIPELINES = [block for block in blocks("toml") if not re.match(r"# \S+\.toml\n", block[1])]


@pytest.fixture
def in_a_folder_of_pipelines(tmp_path):
    """Return a function that writes a pipeline next to those that come with dlpipe, one of which it may extend."""
    for path in (ROOT / "pipelines").glob("*.toml"):
        (tmp_path / path.name).write_text(path.read_text())

    def write(text: str) -> Path:
        file = tmp_path / "pipeline.toml"
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize("text", [text for _, text in PIPELINES], ids=[name for name, _ in PIPELINES])
def test_a_pipeline_in_the_docs_has_no_mistakes(text, in_a_folder_of_pipelines):
    load_pipeline(in_a_folder_of_pipelines(text), load_plugins())


#: Data that takes seconds to make, or models that take seconds to judge.
LONG = (
    "baselines.md-1",
    "data.md-1",
    "pipelines.md-2",
    "pipelines.md-3",
    "pipelines.md-6",
    "backbone.md-1",
    "evaluators.md-1",
)
REHEARSED = [pytest.param(text, id=name, marks=pytest.mark.slow if name in LONG else []) for name, text in PIPELINES]


@pytest.mark.parametrize("text", REHEARSED)
def test_a_pipeline_in_the_docs_takes_a_step(text, in_a_folder_of_pipelines):
    pipeline = load_pipeline(in_a_folder_of_pipelines(text), load_plugins())

    try:
        dry_run(pipeline)
    except DataError as error:  # of the files that the reader has
        assert re.search("no such (file|folder)|No such file|path is not set", str(error)), error


@pytest.mark.parametrize("text", [text for _, text in blocks("python")], ids=[name for name, _ in blocks("python")])
def test_python_code_in_the_docs_parses(text):
    ast.parse(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            assert (page.parent / path).exists(), target
            assert not anchor or anchor in anchors(page.parent / path if path else page), target


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_shows_the_mistakes_that_check_reports(tmp_path):
    first = re.search(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)
    file = tmp_path / "mine.toml"
    file.write_text(
        re.sub(r"\s+#.*", "", first)
        .replace("text.flights", "text.flighs")
        .replace('cell = "lstm"\n', 'cell = "lstn"\ndropout = 1.5\n')
        .replace("epochs = 10\n", "epochs = 10\ndropout = 0.2\n")
    )

    answer = subprocess.run([sys.executable, "-m", "dlpipe", "check", file.name], cwd=tmp_path, capture_output=True)

    shown = re.search(r"\$ dlpipe check mine.toml\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)
    assert answer.stderr.decode() == shown


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "CHANGELOG.md"],  # which quotes what messages said
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_no_page_takes_for_granted_that_an_index_has_dlpipe(page):
    """Anybody could claim the name there: dlpipe is installed from a clone."""
    assert not re.search(r"""pip install ['"]?dlpipe\b(?!-)""", page.read_text())


def test_every_hook_is_in_the_docs():
    text = (ROOT / "docs" / "plugins.md").read_text()

    for specs in (ComponentHooks, Lifecycle):
        for name in vars(specs):
            assert not name.startswith("dlpipe_") or f"`{name}`" in text, name


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)
def test_every_field_of_a_record_is_in_the_docs(kind):
    text = (ROOT / "docs" / "plugins.md").read_text()

    for field in dataclasses.fields(kind):
        assert re.search(rf"^\| (`\w+`, )*`{field.name}`", text, re.M), field.name


@pytest.mark.parametrize("kind", ["data", "model", "trainer", "evaluator"])
def test_every_method_that_dlpipe_calls_is_in_the_docs(kind):
    rows = re.findall(rf"^\| {kind} \| (.*) \| (.*) \|$", (ROOT / "docs" / "plugins.md").read_text(), re.M)
    named = [set(re.findall(r"`(\w+)", cell)) for cell in rows[-1]]

    required, optional = (
        {name for protocol in table[kind] for name in get_protocol_members(protocol)} for table in (REQUIRED, OPTIONAL)
    )
    assert named[0] >= required, required - named[0]
    assert named[1] >= optional - required, optional - named[1]
    assert named[0] | named[1] <= required | optional | {"forward", *MODEL_METHODS}


def test_every_rule_of_the_conformance_kit_is_in_the_docs():
    text = (ROOT / "docs" / "plugins.md").read_text()

    for rule in (LOADED, LIGHT, USED, *COMPONENT_RULES, *(rule for _, rule, _ in RULES)):
        assert rule in text, rule


def test_every_command_is_in_the_docs():
    text = "".join(page.read_text() for page in PAGES)

    for name in load_plugins().components["command"]:
        assert f"dlpipe {name}" in text, name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(CORE).as_posix())
def test_every_module_of_the_core_is_in_the_architecture(path):
    # Each package has one row: | `package` | what it does | `module`, `module` … |
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", (ROOT / "docs" / "architecture.md").read_text(), re.M)
    modules = {package: re.findall(r"`(\w+)`", listed) for package, listed in rows}

    package = path.parent.name if path.parent != CORE else path.stem
    assert package in modules
    assert path.parent == CORE or path.stem in modules[package]


def test_the_architecture_lists_no_module_that_does_not_exist():
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", (ROOT / "docs" / "architecture.md").read_text(), re.M)

    for package, listed in rows:
        for module in re.findall(r"`(\w+)`", listed):
            assert (CORE / package / f"{module}.py").exists(), f"{package}.{module}"
        assert (CORE / package).is_dir() or (CORE / f"{package}.py").exists(), package
