"""Specs, and the distributions that a component lacks."""

import pytest

from dlpipe.errors import PluginError
from dlpipe.registry.specs import KINDS, CommandSpec, DataSpec, ModelSpec, RegisteredComponent, a_kind


@pytest.mark.parametrize("name", ["net", "rnn_tagger", "a1"])
def test_a_name_of_lower_case_letters_is_accepted(name):
    assert ModelSpec(name, "m:X", "").name == name


@pytest.mark.parametrize("name", ["", "Net", "1a", "_a", "a-b", "a.b", "a b", "é"])
def test_any_other_name_is_refused(name):
    with pytest.raises(PluginError, match=f"model name '{name}': expected lower-case letters, digits and _"):
        ModelSpec(name, "m:X", "")


@pytest.mark.parametrize("target", ["", "m", "m:", ":", "m.n:x.y", "m n:X", "1m:X", "m:X()", "m:1"])
def test_a_target_without_module_and_name_is_refused(target):
    with pytest.raises(PluginError, match="model 'net' has target .*: expected \"package.module:Name\""):
        ModelSpec("net", target, "")


@pytest.mark.parametrize("target", ["m:X", "m.n:x_1", ":X", "_m:_X"])
def test_a_target_with_module_and_name_is_accepted(target):
    assert ModelSpec("net", target, "").target == target


def test_a_command_may_have_a_dash_but_needs_a_target():
    assert CommandSpec("list-all", "m:x", "").name == "list-all"
    with pytest.raises(PluginError, match="command 'x' has target 'm'"):
        CommandSpec("x", "m", "")


def test_every_kind_is_that_of_its_spec():
    assert {kind: record.kind for kind, record in KINDS.items()} == {kind: kind for kind in KINDS}
    assert list(KINDS) == ["data", "model", "trainer", "evaluator", "callback", "command"]


def test_the_full_name_starts_with_the_namespace():
    assert RegisteredComponent(DataSpec("images", "m:X", ""), "vision", "dlpipe 1.0").name == "vision.images"


def test_a_registered_component_says_which_distributions_are_missing():
    record = DataSpec("images", "m:X", "", requires=("pluggy", "no-such-dist", "click"))

    assert RegisteredComponent(record, "vision", "dlpipe 1.0").missing() == ["no-such-dist"]


@pytest.mark.parametrize("record", [DataSpec, ModelSpec])
def test_an_application_without_module_and_name_is_refused(record):
    with pytest.raises(PluginError, match=r"'images' has application 'draw': expected \"package\.module:function\""):
        record("images", "m:X", "", application="draw")


def test_former_names_start_with_the_namespace_unless_they_have_one():
    component = RegisteredComponent(ModelSpec("net", "m:X", "", formerly=("old", "other.net")), "mine", "mine 1.0")

    assert component.former_names() == ["mine.old", "other.net"]


def test_a_string_of_former_names_is_refused():
    with pytest.raises(PluginError, match="model 'net' has formerly = \"old\": expected a tuple of names"):
        ModelSpec("net", "m:X", "", formerly="old")


@pytest.mark.parametrize(
    ("kind", "words"), [("model", "a model"), ("data", "a data component"), ("evaluator", "an evaluator")]
)
def test_a_kind_has_its_article(kind, words):
    assert a_kind(kind) == words
