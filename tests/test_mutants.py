"""What `benchmarks/mutants.py` changes, and which tests it runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = b'''"""Two lines 1 + 1."""
from typing import Annotated, TYPE_CHECKING
if TYPE_CHECKING:
    import a
def f(x: Annotated[int, 3], examples=None, *, size=7):
    """Return 2."""
    assert x > 5
    if not x and x < 3:
        raise ValueError(f"{x + 4}: expected {max(x, 8)}")
    axes.plot(x, 9, color="red")
    split(examples, "train")
    y = split(examples.data, examples.split)
    return x + 6 * y
'''
FOUND = [
    ("5: number", "8"),
    ("8: boolean", "(not x or x < 3)"),
    ("8: comparison", "(x <= 3)"),
    ("8: comparison", "(x >= 3)"),
    ("8: not or sign removed", "(x)"),
    ("8: number", "4"),
    ("9: statement removed", "pass"),
    ("11: arguments swapped", "split('train', examples)"),
    ("11: split", "examples.split"),
    ("11: statement removed", "pass"),
    ("12: arguments swapped", "split(examples.split, examples.data)"),
    ("12: split", "'train'"),
    ("13: arithmetic", "(6 / y)"),
    ("13: arithmetic", "(x - 6 * y)"),
    ("13: number", "7"),
]


@pytest.fixture(scope="module")
def mutants(root) -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", root / "benchmarks" / "mutants.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_code_is_mutated_and_texts_annotations_assertions_and_figures_are_not(mutants):
    found = mutants.mutants_of(Path("a.py"), SOURCE)

    assert sorted((f"{each.line}: {each.what}", each.text) for each in found) == sorted(FOUND)


def test_every_mutant_of_the_project_is_a_program_other_than_the_source(mutants, root):
    for path in mutants.modules()[::12]:
        source = (root / path).read_bytes()
        for mutant in mutants.mutants_of(path, source):
            compile(changed := mutant.apply(source), str(path), "exec")
            assert changed != source
            assert mutant.diff(source).startswith(("-", "+"))


def test_the_mirror_runs_first_then_what_imports_the_module_then_the_rest_of_the_folder(mutants, root):
    stages = mutants.stages_of(Path("core/dlpipe/sweep/table.py"), root)

    names = [[path.name for path in stage] for stage in stages]
    assert names[:2] == [["test_table.py"], ["test_schema.py"]]
    assert {"test_curves.py", "test_page.py"} <= set(names[2])
    assert "test_study.py" in names[3]
    every = [name for stage in names for name in stage]
    assert len(every) == len(set(every))
    assert "test_ranks.py" not in every
    assert [path.name for path in mutants.stages_of(Path("core/dlpipe/sweep/execution.py"), root)[-1]] == [
        "test_ranks.py",
        "test_together.py",
    ]


@pytest.mark.slow
def test_a_mutant_is_killed_by_a_test_that_passes_without_it_only(mutants, tmp_path, monkeypatch):
    module, tests = tmp_path / "core/dlpipe/a.py", tmp_path / "tests/core"
    module.parent.mkdir(parents=True)
    tests.mkdir(parents=True)
    source = b"def half(x):\n    return x / 2\n"
    module.write_bytes(source)
    (tests / "test_a.py").write_text(
        "import sys\nsys.path[:0] = ['core/dlpipe']\nfrom a import half\n"
        "def test_broken():\n    assert False\n\ndef test_half():\n    assert half(4) == 2\n"
    )
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    for command in (["init", "-q"], ["add", "."]):
        mutants.subprocess.run(["git", *command], cwd=tmp_path, check=True)
    bench = mutants.Bench(tmp_path / "scratch", limit=100)
    product, number = mutants.mutants_of(Path("core/dlpipe/a.py"), source)

    assert bench.outcome(product) == bench.outcome(number) == "killed by tests/core/test_a.py::test_half"
    same = mutants.Mutant(product.path, 2, product.start, product.end, "x * 0.5", "none")
    assert bench.outcome(same) == "survived"
