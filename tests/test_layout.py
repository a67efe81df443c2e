"""The rules of the layout: who may import whom, what is public, what must stay light, and which words are not used."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dlpipe

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "core").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
#: Plugins that are no part of the distribution: local ones of pipelines, and the example of somebody else's.
OTHERS = sorted([*(ROOT / "pipelines").rglob("*.py"), *(ROOT / "examples").rglob("*.py")])
#: The packages and modules of the core. Each imports only from the rows above its own, and from itself.
LAYERS = [
    ["garbage_collection", "json_text", "local_plugins", "messages", "notebook", "splits"],
    ["errors", "progress"],
    ["fields", "items", "launch", "protocols"],
    ["spinning"],
    ["registry"],
    ["config"],
    ["ranks"],
    ["compute", "figures", "layers", "recurrent", "runs"],
    ["data", "report_items", "scores"],
    ["evaluation", "report", "tabular"],
    ["baselines", "models", "training"],
    ["engine"],
    ["coach", "comparison", "serving", "sweep"],
    ["api"],
    ["testing", "commands", "plugin"],
    ["cli"],
    ["__main__"],
]
#: What imports neither torch nor numpy, so that `dlpipe check`, `list` and `show` are fast.
TORCH_FREE = [
    "dlpipe",
    "api",
    "errors",
    "garbage_collection",
    "json_text",
    "local_plugins",
    "messages",
    "notebook",
    "progress",
    "fields",
    "items",
    "launch",
    "protocols",
    "spinning",
    "splits",
    "registry",
    "config",
    "commands",
    "plugin",
    "cli",
]
#: What others may import; everything else is private. docs/plugins.md lists the names.
PUBLIC = [
    "dlpipe",
    "dlpipe.coach",
    "dlpipe.compute",
    "dlpipe.data",
    "dlpipe.errors",
    "dlpipe.evaluation",
    "dlpipe.fields",
    "dlpipe.figures",
    "dlpipe.json_text",
    "dlpipe.layers",
    "dlpipe.local_plugins",
    "dlpipe.messages",
    "dlpipe.progress",
    "dlpipe.protocols",
    "dlpipe.recurrent",
    "dlpipe.report_items",
    "dlpipe.testing",
    "dlpipe.training",
]


def imports_of(path: Path, *, when_typing: bool = True) -> list[tuple[str, list[str]]]:
    """Return (module, names) of every import in a file, anywhere in it; names are empty for ``import x``."""
    return imports_in(ast.parse(path.read_text(encoding="utf-8")), when_typing=when_typing)


def imports_in(tree: ast.AST, *, when_typing: bool = True) -> list[tuple[str, list[str]]]:
    """Return (module, names) of every import in code."""
    found: list[tuple[str, list[str]]] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not when_typing:
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, [alias.name for alias in node.names]))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def layer_of(module: str) -> int | None:
    """Return the row of a module of the core in `LAYERS`; the package itself has none."""
    name = module.removeprefix("dlpipe").lstrip(".").partition(".")[0]
    return next((row for row, names in enumerate(LAYERS) if name in names), None)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "core").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", CORE, ids=module_name)
def test_the_core_imports_no_plugin(path):
    assert not [name for name, _ in imports_of(path) if name.startswith("dlpipe_")]


@pytest.mark.parametrize("path", CORE, ids=module_name)
def test_packages_of_the_core_import_in_one_direction(path):
    own = module_name(path)
    if own == "dlpipe":
        assert {name for name, _ in imports_of(path)} <= {
            *(f"dlpipe.api.{path.stem}" for path in (ROOT / "core/dlpipe/api").glob("[a-z]*.py")),
            "dlpipe.errors",
            "dlpipe.registry.hooks",
            "dlpipe.registry.specs",
            "importlib",
            "typing",
        }
        return
    imported = [
        f"{module}.{name}" if layer_of(f"{module}.{name}") is not None and module == "dlpipe" else module
        for module, names in imports_of(path, when_typing=False)
        if module.partition(".")[0] == "dlpipe"
        for name in names or [""]
    ]
    package = own.split(".")[1]
    for module in imported:
        same = module.split(".")[1:2] == [package]
        assert same or (layer_of(module) is not None and layer_of(module) < layer_of(own)), f"{own} imports {module}"


def test_every_module_of_the_core_has_a_layer():
    assert not [
        module_name(path) for path in CORE if module_name(path) != "dlpipe" and layer_of(module_name(path)) is None
    ]


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=lambda path: path.name)
def test_no_message_takes_for_granted_that_an_index_has_dlpipe(path):
    """`install_command` names the clone or the repository from which this dlpipe was installed."""
    assert not re.search(r"""pip install ['"]?dlpipe\b""", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_no_other_plugin(path):
    own = path.relative_to(ROOT / "plugins").parts[1]

    assert not [name for name, _ in imports_of(path) if name.startswith("dlpipe_") and name.split(".")[0] != own]


def assert_public_imports(tree: ast.AST) -> None:
    """Check that code imports public modules and names of dlpipe only."""
    for module, names in imports_in(tree):
        if module.partition(".")[0] == "dlpipe":
            assert module in PUBLIC, f"{module} is private"
            modules = {public.partition(".")[2] for public in PUBLIC} if module == "dlpipe" else set()
            assert set(names) <= {*importlib.import_module(module).__all__, *modules}, module


@pytest.mark.parametrize("path", [*PLUGINS, *OTHERS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_plugin_imports_only_public_names_of_dlpipe(path):
    assert_public_imports(ast.parse(path.read_text(encoding="utf-8")))


def test_the_public_modules_are_those_of_the_package():
    assert {f"dlpipe.{name}" for name in dlpipe._PUBLIC_MODULES} | {"dlpipe"} == set(PUBLIC)


@pytest.mark.parametrize(
    "code",
    ["import dlpipe.engine.build", "from dlpipe.runs.checkpoint import StateBlock", "from dlpipe.data import Batch"],
)
def test_a_private_import_is_found(code):
    with pytest.raises(AssertionError):
        assert_public_imports(ast.parse(code))


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_exist_and_are_documented(module):
    page = (ROOT / "docs" / "plugins.md").read_text()
    names = importlib.import_module(module).__all__

    assert f"`{module}`" in page
    for name in names:
        assert hasattr(importlib.import_module(module), name)
        assert re.search(rf"\b{name}\b", page), f"docs/plugins.md does not mention {module}.{name}"


def test_public_modules_are_attributes_of_dlpipe_without_an_import():
    code = "import dlpipe, sys; assert 'torch' not in sys.modules; print(dlpipe.data.Columns.__name__)"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "Columns"


def test_only_the_package_and_a_readme_stand_in_a_plugin_folder():
    for folder in (ROOT / "plugins").iterdir():
        # An editable install puts this folder on the path: whatever lies there becomes importable.
        assert {entry.name for entry in folder.iterdir()} <= {f"dlpipe_{folder.name}", "README.md"}


def test_what_must_stay_light_imports_neither_torch_nor_numpy():
    modules = [
        name for path in CORE if (name := module_name(path)) == "dlpipe" or name.split(".")[1:2][0] in TORCH_FREE
    ]
    modules += [f"{path.parent.name}.plugin" for path in PLUGINS if path.name == "plugin.py"]
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


def test_text_reaches_the_terminal_only_where_control_characters_are_escaped():
    pattern = re.compile(r"\bprint\(|click\.s?echo\(|traceback\.print|sys\.std(out|err)\.write")
    for path in CORE + PLUGINS:
        if path.name not in ("terminal.py", "progress.py", "table.py"):
            assert not pattern.search(path.read_text(encoding="utf-8")), f"{path}: use dlpipe.commands.terminal.echo"


#: Words and phrases that were replaced by the field's own terms, or by plain English; (pattern, what to write instead).
REMOVED_WORDS = {
    r"\bbears?\b": "tolerates, carries",
    r"\banew\b": "again",
    r"\blikewise\b": "also, the same",
    r"\b(gone|goes|go|going) on with\b": "resumed, resume",
    r"\bthrown away\b": "discarded",
    r"\bknows no\b": "does not support",
    r"(?<!there )\bis no (run|file|folder|state|TOML|number)\b": "is not a …",
    r"\bwish(es|ed)?\b": "want",
    r"\btold of\b|\btells of\b": "informed of",
    r"\bput that right\b": "fix this",
    r"\bmade anew\b": "recreated",
}
#: Identifiers that were renamed.
REMOVED_NAMES = [
    "frechet_floor",
    "kid_floor",
    "Progressed",
    "Watchers",
    "OwnRandomness",
    "IGNORED",
    "Offers",
    "take_over",
    "go_on_from",
    "build_schedule",
    "after_evaluation",
    "Lesson",
    "Room",
    "Players",
    "LocalPlayers",
    "PlayerProcesses",
    "Collector",
    "Played",
    "target_rate",
    "classes_told",
    "Drawn",
    "THINGS",
    "taught",
    "Looked",
    "Picked",
    "pieces_of",
    "MisbehavedError",
    "classes_in_turn",
    "drawn_at_random",
    "reader_steps",
]
TEXTS = [
    *CORE,
    *PLUGINS,
    *(path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "pipelines").rglob("*.toml")),
    *sorted((ROOT / "benchmarks").glob("*.py")),
    *sorted(path for path in (ROOT / "examples").rglob("*") if path.suffix in (".py", ".toml", ".md")),
]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_that_were_replaced_are_not_used(path):
    text = path.read_text(encoding="utf-8")
    # Specs name the old names of renamed parameters and components, so that a file with one gets an answer.
    prose = re.sub(r"""\"\w+\": \"\w+\"|formerly=\(.*?\)""", "", text)
    found = [
        f"line {text[: match.start()].count(chr(10)) + 1}: {match[0]!r}, write: {instead}"
        for pattern, instead in REMOVED_WORDS.items()
        for match in re.finditer(pattern, text, re.I)
    ]
    found += [f"{name}, which was renamed" for name in REMOVED_NAMES if re.search(rf"\b{name}\b", prose)]

    assert not found, "\n".join(found)
