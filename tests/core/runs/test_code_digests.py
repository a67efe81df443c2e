"""What code decides a result: packages, local plugins, and what they import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dlpipe.runs import code_digests
from dlpipe.runs.code_digests import code_identity, package_digest

ROOT = Path(__file__).parents[3]
#: Each imports the module "wanted" and perhaps others.
IMPORTS = {
    "plain": "import wanted",
    "a part": "import wanted.part as other",
    "after another": "import os, wanted as w, sys",
    "from it": "from wanted.part import (\n    name,\n)",
    "all of it": "from wanted import*",
    "over lines": "from \\\n    wanted \\\r\n import name",
    "over lines, plain": "import os, \\\n    wanted",
    "after a raise": "try:\n    pass\nexcept OSError as e:\n    raise ValueError from e\nimport wanted",
    "after a semicolon": "import os;import\twanted; x = 1",
    "in a function": "def f():\n    import wanted",
    "in Latin-1": "# -*- coding: latin-1 -*-\n# \xe9\nimport wanted",
}


def test_the_code_of_a_package_has_a_digest_that_changes_with_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for name, text in (("one_code", "a = 1"), ("two_code", "a = 1"), ("three_code", "a = 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "model.py").write_text(text)
        digests.append(package_digest(name))

    assert digests[0] == digests[1]
    assert digests[1] != digests[2]


def test_what_the_site_packages_of_another_environment_hold_is_not_read(tmp_path, monkeypatch):
    """As on clusters, where PYTHONPATH names it: torch alone would take minutes."""
    other = tmp_path / "lib" / "site-packages"
    for folder, package, text in (
        (tmp_path, "own_code", "import their_library"),
        (other, "their_library", "import their_dependency"),
        (other, "their_dependency", ""),
    ):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(text)
        monkeypatch.syspath_prepend(folder)

    found = code_identity([("own", "own_code")], [])

    assert "the code of plugin own" in found
    assert "the code of their_library" in found
    assert "the code of their_dependency" not in found


@pytest.mark.parametrize("case", IMPORTS)
def test_imports_are_found_however_they_are_written(case, tmp_path, monkeypatch):
    (tmp_path / "wanted.py").write_text("")
    (tmp_path / "own_code.py").write_bytes(IMPORTS[case].encode("latin-1"))
    monkeypatch.syspath_prepend(tmp_path)

    assert "the code of wanted" in code_identity([], [tmp_path / "own_code.py"])


def test_words_of_a_text_are_no_imports(tmp_path, monkeypatch):
    (tmp_path / "wanted.py").write_text("")
    (tmp_path / "own_code.py").write_text('"""How to import wanted."""')
    monkeypatch.syspath_prepend(tmp_path)

    assert "the code of wanted" not in code_identity([], [tmp_path / "own_code.py"])


def test_a_file_is_parsed_only_if_it_may_add_a_name(tmp_path, monkeypatch):
    parsed = []
    monkeypatch.setattr(ast, "parse", lambda content, parse=ast.parse: parsed.append(content) or parse(content))
    for name, text in (("a", "import os, re"), ("b", "from os import path"), ("c", "import re\nimport json")):
        (tmp_path / f"{name}.py").write_text(text)

    names = code_digests._imports(sorted(tmp_path.glob("*.py")))

    assert names == {"os", "re", "json"}
    assert parsed == [b"import os, re", b"import re\nimport json"]


def test_the_search_finds_every_import_of_the_project(monkeypatch):
    search = code_digests._may_import
    monkeypatch.setattr(code_digests, "_may_import", lambda content: None)  # parse all
    files = [path for folder in ("core", "plugins", "tests") for path in (ROOT / folder).rglob("*.py")]

    assert len(files) > 500
    for path in files:
        assert code_digests._imports([path]) <= search(path.read_bytes()), path
