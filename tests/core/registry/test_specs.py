"""Records, and what they lack."""

import pytest

from dlpipe.errors import PluginError
from dlpipe.registry.specs import KINDS, CommandSpec, DataSpec, ModelSpec, RegisteredComponent


@pytest.mark.parametrize("name", ["net", "rnn_tagger", "a1"])
def test_a_name_of_lower_case_letters_is_taken(name):
    assert ModelSpec(name, "m:X", "").name == name


@pytest.mark.parametrize("name", ["", "Net", "1a", "_a", "a-b", "a.b", "a b", "é"])
def test_another_name_is_refused(name):
    with pytest.raises(PluginError, match=f"model name '{name}': expected lower-case letters, digits and _"):
        ModelSpec(name, "m:X", "")


@pytest.mark.parametrize("target", ["", "m", "m:", ":", "m.n:x.y", "m n:X", "1m:X", "m:X()", "m:1"])
def test_a_target_that_is_no_module_and_name_is_refused(target):
    with pytest.raises(PluginError, match="model 'net' has target .*: expected \"package.module:Name\""):
        ModelSpec("net", target, "")


@pytest.mark.parametrize("target", ["m:X", "m.n:x_1", ":X", "_m:_X"])
def test_a_target_is_a_module_and_a_name(target):
    assert ModelSpec("net", target, "").target == target


def test_a_command_may_have_a_dash_and_still_needs_a_target():
    assert CommandSpec("list-all", "m:x", "").name == "list-all"
    with pytest.raises(PluginError, match="command 'x' has target 'm'"):
        CommandSpec("x", "m", "")


def test_every_kind_is_the_one_its_record_names():
    assert {kind: record.kind for kind, record in KINDS.items()} == {kind: kind for kind in KINDS}
    assert list(KINDS) == ["data", "model", "trainer", "evaluator", "callback", "command"]


def test_a_registered_component_has_the_namespace_before_its_name():
    assert RegisteredComponent(DataSpec("images", "m:X", ""), "vision", "dlpipe 1.0").name == "vision.images"


def test_a_registered_component_says_which_distributions_are_missing():
    record = DataSpec("images", "m:X", "", requires=("pluggy", "no-such-dist", "click"))

    assert RegisteredComponent(record, "vision", "dlpipe 1.0").missing() == ["no-such-dist"]


@pytest.mark.parametrize("record", [DataSpec, ModelSpec])
def test_an_application_that_is_no_target_is_refused(record):
    with pytest.raises(PluginError, match=r"'images' has application 'draw': expected \"package\.module:function\""):
        record("images", "m:X", "", application="draw")
