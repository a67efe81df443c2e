"""Importing what a target names."""

import pytest

from dlpipe.errors import PluginError
from dlpipe.registry.targets import load_target


def test_a_target_is_imported():
    assert load_target("dlpipe.registry.targets:load_target") is load_target


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("x = (", "SyntaxError: '\\(' was never closed"),
        ("import sys; sys.exit('no')", "SystemExit: no"),
    ],
)
def test_a_module_that_breaks_at_import_is_named_with_the_cause(tmp_path, monkeypatch, code, cause):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "breaks_at_import.py").write_text(code)

    with pytest.raises(PluginError, match=f"breaks_at_import:X cannot be imported: {cause}"):
        load_target("breaks_at_import:X")
