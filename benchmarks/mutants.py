"""How many small mistakes in the sources the tests notice: a seeded random sample of mutants.

A mutant is the project with one expression or statement changed: a comparison, an operator, a number, a truth value, a
`not` or a sign removed, two arguments or two splits swapped, a statement or a `raise` removed. It lives in a copy of
the tracked files, for as long as its tests run. They are, in this order, until one fails:

1. the file that mirrors the module: `tests/text/test_iob.py` for `plugins/text/dlpipe_text/iob.py`;
2. the other files of its folder (for a module directly in `core/dlpipe`, those directly in `tests/core`), first those
   that import the module by its name;
3. the files elsewhere that do so, if they are at most `ELSEWHERE`;
4. the tests of several processes, if the module of the core knows of them.

Before the second group, the schema of pipeline files is compared with the one in the repository: it has the defaults of
all parameters.

So a killed mutant is cheap, and "survived" means that none of these notice it; the rest of the tests might. A test that
fails without the mutant as well kills none. A mutant whose tests take longer than the limit counts as not killed.

Not mutated, since no test could or should notice: docstrings, annotations, texts and what is formatted into them, code
for type checkers, assertions (`strict` of zip is one), the indentation of JSON, whether a copy to a GPU is waited for,
calls that only set the look of a figure, and `__main__.py`.
"""

from __future__ import annotations

import ast
import copy
import difflib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("core", "plugins/text", "plugins/vision", "plugins/rl", "plugins/generative", "plugins/audio")
ELSEWHERE = 8
SCHEMA = Path("tests", "test_schema.py")
#: Objects of matplotlib: what is called on them is looked at, not asserted.
FIGURES = ("axes", "figure", "axis", "legend", "ax", "plt")
#: Keyword arguments that decide nothing about the result.
WITHOUT_EFFECT = ("strict", "indent", "non_blocking")
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
}
SPLITS = {"train": "test", "dev": "train", "test": "train"}


@dataclass(frozen=True)
class Mutant:
    """A change of one node.

    Args:
        path: of the module, from the root of the project.
        start, end: bytes that are replaced.
        what: the kind of change.
    """

    path: Path
    line: int
    start: int
    end: int
    text: str
    what: str

    def apply(self, source: bytes) -> bytes:
        """Return the changed source."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def diff(self, source: bytes) -> str:
        """Return the changed lines."""
        before, after = (text.decode().splitlines() for text in (source, self.apply(source)))
        lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[3:]
        return "\n".join(line for line in lines if not line.startswith("@@"))


class Finder:
    """Finds everything in a module that can be mutated."""

    def __init__(self, path: Path, source: bytes) -> None:
        self._path = path
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self.found: list[Mutant] = []
        self._statements(ast.parse(source).body)

    def _add(self, node: ast.expr | ast.stmt, new: ast.AST | str, what: str) -> None:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        end = self._starts[node.end_lineno - 1] + node.end_col_offset
        text = new if isinstance(new, str) else ast.unparse(new)
        if isinstance(node, ast.expr) and not isinstance(node, ast.Constant | ast.Call | ast.Attribute):
            text = f"({text})"
        self.found.append(Mutant(self._path, node.lineno, start, end, text, what))

    def _statements(self, body: list[ast.stmt], arguments: frozenset[str] = frozenset()) -> None:
        for node in body:
            self._statement(node, arguments)

    def _statement(self, node: ast.stmt, arguments: frozenset[str]) -> None:
        if isinstance(node, ast.Assert | ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Constant) or _draws(node.value):
                return
            if isinstance(node.value, ast.Call):
                self._add(node, "pass", "statement removed")
        elif isinstance(node, ast.Raise | ast.AugAssign | ast.Continue | ast.Break):
            self._add(node, "pass", "statement removed")
        if isinstance(node, ast.Raise):  # what is in it is a message
            return
        if isinstance(node, ast.FunctionDef):
            arguments = frozenset(each.arg for each in [*node.args.args, *node.args.kwonlyargs])
            for default in [*node.args.defaults, *node.args.kw_defaults]:
                if default is not None:
                    self._expression(default, arguments)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "args", "decorator_list", "type_params"):
                continue
            for child in value if isinstance(value, list) else [value]:
                self._child(child, arguments)

    def _child(self, child: object, arguments: frozenset[str]) -> None:
        if isinstance(child, ast.stmt):
            self._statement(child, arguments)
        elif isinstance(child, ast.expr):
            self._expression(child, arguments)
        elif isinstance(child, ast.keyword) and child.arg in WITHOUT_EFFECT:
            return
        elif isinstance(child, ast.AST) and not isinstance(child, ast.arguments):
            for _, value in ast.iter_fields(child):
                for inner in value if isinstance(value, list) else [value]:
                    self._child(inner, arguments)

    def _expression(self, node: ast.expr, arguments: frozenset[str]) -> None:
        if isinstance(node, ast.JoinedStr) or _draws(node):
            return
        for new, what in _changes(node, arguments):
            self._add(node, new, what)
        for name, value in ast.iter_fields(node):
            if name in ("slice",) and isinstance(node, ast.Subscript) and _is_type(node):
                continue
            for child in value if isinstance(value, list) else [value]:
                self._child(child, arguments)


def _changes(node: ast.expr, arguments: frozenset[str]) -> Iterator[tuple[ast.AST | str, str]]:
    """Yield what can stand in the place of an expression, and the kind of change."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARISONS[type(node.ops[0])]:
            yield _with(node, ops=[other()]), "comparison"
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not _is_text(node):
        yield _with(node, op=OPERATORS[type(node.op)]()), "arithmetic"
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And()), "boolean"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand, "not or sign removed"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value), "truth value"
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1 if isinstance(node.value, int) else node.value * 2 or 1.0), "number"
    elif isinstance(node, ast.Constant) and node.value in SPLITS:
        swapped = "examples.split" if "examples" in arguments and node.value == "train" else None
        yield swapped or ast.Constant(SPLITS[str(node.value)]), "split"
    elif isinstance(node, ast.Attribute) and ast.unparse(node) == "examples.split":
        yield ast.Constant("train"), "split"
    elif isinstance(node, ast.Call) and len(node.args) > 1 and not _is_typing(node):
        first, second, *others = node.args
        same = ast.unparse(first) == ast.unparse(second)
        if not same and not isinstance(first, ast.Starred) and not isinstance(second, ast.Starred):
            yield _with(node, args=[second, first, *others]), "arguments swapped"


def _with(node: ast.expr, **changed: object) -> ast.AST:
    new = copy.copy(node)
    for name, value in changed.items():
        setattr(new, name, value)
    return new


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(isinstance(s, ast.JoinedStr | ast.List | ast.Tuple) or _is_string(s) for s in sides)


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_type(node: ast.Subscript) -> bool:
    return (isinstance(node.value, ast.Name) and node.value.id[:1].isupper()) or ast.unparse(node.value) in (
        "list",
        "dict",
        "tuple",
        "set",
        "type",
    )


def _is_typing(node: ast.Call) -> bool:
    return ast.unparse(node.func) in ("cast", "isinstance", "getattr", "TypeVar", "NewType")


def _draws(node: ast.expr) -> bool:
    """Return whether a call only sets the look of a figure."""
    name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    return name == "drawing" or name.partition(".")[0] in FIGURES


def mutants_of(path: Path, source: bytes) -> list[Mutant]:
    """Return all mutants of a module, `path` from the root of the project."""
    return Finder(path, source).found


def modules() -> list[Path]:
    """Return the modules that are mutated, from the root of the project."""
    found = [path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path.relative_to(ROOT) for path in found if path.name not in ("__init__.py", "__main__.py")]


def stages_of(module: Path, root: Path) -> list[list[Path]]:
    """Return the stages of test files that are run for a module, from the root of the project."""
    parts = module.parts[2:] if module.parts[0] == "core" else module.parts[3:]
    folder = Path("tests", "core" if module.parts[0] == "core" else module.parts[1], *parts[:-1])
    mirror = folder / f"test_{module.name}"
    beside = [path.relative_to(root) for path in sorted((root / folder).glob("test_*.py"))]
    name = ".".join(module.with_suffix("").parts[1 if module.parts[0] == "core" else 2 :])
    package, _, last = name.rpartition(".")
    named = re.compile(rf"\b{re.escape(name)}\b|from {re.escape(package)} import .*\b{last}\b")
    importing = [
        path.relative_to(root)
        for path in sorted((root / "tests").rglob("test_*.py"))
        if named.search(path.read_text(encoding="utf-8"))
    ]
    elsewhere = [path for path in importing if path not in (*beside, SCHEMA)]
    known = re.search(r"\b(ranks|launched)\b", (root / module).read_text(encoding="utf-8"))
    together = Path("tests", "core", "ranks")
    of_ranks = [path.relative_to(root) for path in sorted((root / together).glob("test_*.py"))]
    stages = [
        [mirror],
        [SCHEMA],
        [path for path in beside if path in importing and path != mirror],
        [path for path in beside if path not in importing and path != mirror],
        elsewhere if len(elsewhere) <= ELSEWHERE else [],
        of_ranks if known and module.parts[0] == "core" and folder != together else [],
    ]
    return [there for stage in stages if (there := [path for path in stage if (root / path).is_file()])]


class Bench:
    """Copies of the project in which tests run.

    Args:
        scratch: a folder for the copies.
        limit: seconds for the tests of one mutant.
    """

    def __init__(self, scratch: Path, limit: float) -> None:
        self._scratch, self._limit = scratch, limit
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
        self._files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
        self._clean = self._copied("clean")
        self._passes: dict[str, bool] = {}

    def _copied(self, name: str) -> Path:
        folder = self._scratch / name
        for file in self._files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, folder / file)
        return folder

    def outcome(self, mutant: Mutant) -> str:
        """Return "killed by TEST", "survived" or "timed out"."""
        folder = self._copied("mutant")
        try:
            (folder / mutant.path).write_bytes(mutant.apply((ROOT / mutant.path).read_bytes()))
            end = time.monotonic() + self._limit
            for stage in stages_of(mutant.path, ROOT):
                deselected: list[str] = []
                while found := self._first_failure(folder, stage, deselected, end - time.monotonic()):
                    if found == "timed out" or self._passes_without(found):
                        return found if found == "timed out" else f"killed by {found}"
                    deselected.append(found)
            return "survived"
        finally:
            shutil.rmtree(folder)

    def _passes_without(self, test: str) -> bool:
        if test not in self._passes:
            self._passes[test] = not self._first_failure(self._clean, [Path(test)], [], self._limit)
        return self._passes[test]

    def _first_failure(self, folder: Path, tests: list[Path], deselected: list[str], seconds: float) -> str:
        """Return the name of the first test that fails, "timed out", or nothing if all pass."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-rfE"]
        command += [f"--deselect={name}" for name in deselected]
        # A mutant may hang or wait for children: all of its processes are ended together.
        started = subprocess.Popen(
            [*command, *map(str, tests)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(str(folder / each) for each in SOURCES)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = started.communicate(timeout=max(seconds, 1))
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, 9)
            started.communicate()
            return "timed out"
        if started.returncode in (0, 5):  # 5: no test is left
            return ""
        named = re.search(r"^(?:FAILED|ERROR) (\S+\.py(?:::[^\[\s]+(?:\[.*?\](?=$| - ))?)?)", output, re.MULTILINE)
        return named[1] if named else str(tests[0])


@click.command()
@click.option("--count", default=100, show_default=True, help="Mutants to draw.")
@click.option("--seed", default=1, show_default=True, help="Of the sample.")
@click.option("--first", default=0, show_default=True, help="Leave out so many of the sample, to continue a run.")
@click.option("--only", default="", help="Draw from modules whose path contains this.")
@click.option("--kind", default="", help="Draw only such mutants, for example: split.")
@click.option("--limit", default=300.0, show_default=True, help="Seconds for the tests of one mutant.")
def main(count: int, seed: int, first: int, only: str, kind: str, limit: float) -> None:
    """Run the tests on a random sample of mutants; the exit code is 1 if any survives."""
    sources = {path: (ROOT / path).read_bytes() for path in modules() if only in str(path)}
    everything = [
        mutant for path, source in sources.items() for mutant in mutants_of(path, source) if kind in mutant.what
    ]
    random.Random(seed).shuffle(everything)
    chosen = everything[first : first + count]
    print(f"{len(chosen)} of {len(everything)} mutants of {len(sources)} modules", flush=True)
    left: list[tuple[Mutant, str]] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        bench = Bench(Path(scratch), limit)
        for number, mutant in enumerate(chosen, start=first + 1):
            began = time.monotonic()
            outcome = bench.outcome(mutant)
            if not outcome.startswith("killed"):
                left.append((mutant, outcome))
            seconds = time.monotonic() - began
            print(f"{number}: {mutant.path}:{mutant.line}: {mutant.what}: {outcome} ({seconds:.0f} s)", flush=True)
    killed = len(chosen) - len(left)
    print(f"\n{killed} of {len(chosen)} mutants are killed ({killed / max(len(chosen), 1):.0%})")
    for mutant, outcome in left:
        print(f"\n{outcome}: {mutant.path}:{mutant.line}: {mutant.what}\n{mutant.diff(sources[mutant.path])}")
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()
