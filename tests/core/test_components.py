"""Records, what they lack, and names that are nearly right."""

import pytest

from dlpipe.components import KINDS, Command, Data, Model, Offer, load_target, nearest
from dlpipe.errors import PluginError


@pytest.mark.parametrize("name", ["net", "rnn_tagger", "a1"])
def test_a_name_of_lower_case_letters_is_taken(name):
    assert Model(name, "m:X", "").name == name


@pytest.mark.parametrize("name", ["", "Net", "1a", "_a", "a-b", "a.b", "a b", "é"])
def test_another_name_is_refused(name):
    with pytest.raises(PluginError, match=f"model name '{name}': expected lower-case letters, digits and _"):
        Model(name, "m:X", "")


@pytest.mark.parametrize("target", ["", "m", "m:", ":", "m.n:x.y", "m n:X", "1m:X", "m:X()", "m:1"])
def test_a_target_that_is_no_module_and_name_is_refused(target):
    with pytest.raises(PluginError, match="model 'net' has target .*: expected \"package.module:Name\""):
        Model("net", target, "")


@pytest.mark.parametrize("target", ["m:X", "m.n:x_1", ":X", "_m:_X"])
def test_a_target_is_a_module_and_a_name(target):
    assert Model("net", target, "").target == target


def test_a_command_may_have_a_dash_and_still_needs_a_target():
    assert Command("list-all", "m:x", "").name == "list-all"
    with pytest.raises(PluginError, match="command 'x' has target 'm'"):
        Command("x", "m", "")


def test_every_kind_is_the_one_its_record_names():
    assert {kind: record.kind for kind, record in KINDS.items()} == {kind: kind for kind in KINDS}
    assert list(KINDS) == ["data", "model", "trainer", "evaluator", "callback", "command"]


def test_an_offer_has_the_namespace_before_its_name():
    assert Offer(Data("images", "m:X", ""), "vision", "dlpipe 1.0").name == "vision.images"


def test_an_offer_tells_which_distributions_are_missing():
    record = Data("images", "m:X", "", requires=("pluggy", "no-such-dist", "click"))

    assert Offer(record, "vision", "dlpipe 1.0").missing() == ["no-such-dist"]


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("rnn_taggr", ["rnn_tagger", "crf"], ' Did you mean "rnn_tagger"?'),
        ("xyz", ["rnn_tagger"], ""),
        ("xyz", [], ""),
    ],
)
def test_the_nearest_name_is_suggested(name, known, hint):
    assert nearest(name, known) == hint


def test_a_target_is_imported():
    assert load_target("dlpipe.components:nearest") is nearest


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


@pytest.mark.parametrize("record", [Data, Model])
def test_an_application_that_is_no_target_is_refused(record):
    with pytest.raises(PluginError, match=r"'images' has application 'draw': expected \"package\.module:function\""):
        record("images", "m:X", "", application="draw")
