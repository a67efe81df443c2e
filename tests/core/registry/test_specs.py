"""Specs, and the distributions that a component lacks."""

import pytest

from dlpipe.errors import PluginError
from dlpipe.registry.specs import (
    KINDS,
    CommandSpec,
    DataSpec,
    EvaluatorSpec,
    ModelSpec,
    RegisteredComponent,
    RuleSpec,
    TrainerSpec,
    a_kind,
)


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


def test_a_rule_has_dashes_and_needs_a_target():
    assert RuleSpec("entropy-collapsed", "m:x", "").name == "entropy-collapsed"
    for name in ("entropy_collapsed", "Entropy", "entropy--collapsed", "-entropy"):
        with pytest.raises(PluginError, match=f"rule name '{name}': expected lower-case letters, digits and single"):
            RuleSpec(name, "m:x", "")
    with pytest.raises(PluginError, match="rule 'x' has target 'm'"):
        RuleSpec("x", "m", "")


def test_every_kind_is_that_of_its_spec():
    assert {kind: record.kind for kind, record in KINDS.items()} == {kind: kind for kind in KINDS}
    assert list(KINDS) == [
        "data",
        "model",
        "trainer",
        "evaluator",
        "optimizer",
        "schedule",
        "loss",
        "callback",
        "command",
        "rule",
    ]


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


@pytest.mark.parametrize(
    ("record", "given", "expected"),
    [
        (ModelSpec, {"formerly": "old"}, "model 'net' has formerly = 'old': expected a tuple of strings, such as"),
        (ModelSpec, {"requires": "gensim"}, "model 'net' has requires = 'gensim': expected a tuple of strings"),
        (ModelSpec, {"requires": ("gensim", 4)}, r"model 'net' has requires = \('gensim', 4\): expected a tuple of"),
        (
            ModelSpec,
            {"renamed": ("old", "new")},
            r"has renamed = \('old', 'new'\): expected a dict of former and current",
        ),
        (
            ModelSpec,
            {"renamed": {"old": 3}},
            r"has renamed = \{'old': 3\}: expected a dict of former and current names",
        ),
        (ModelSpec, {"extra": None}, "model 'net' has extra = None: expected a string"),
        (ModelSpec, {"application": 3}, "model 'net' has application = 3: expected a string"),
        (ModelSpec, {"target": print}, "model 'net' has target = <built-in function print>: expected a string"),
        (DataSpec, {"facts": "labels"}, "data 'net' has facts = 'labels': expected a tuple of strings"),
        (TrainerSpec, {"budget": "timesteps"}, "trainer 'net' has budget = 'timesteps': expected a tuple of strings"),
        (EvaluatorSpec, {"from_trainer": "gamma"}, "evaluator 'net' has from_trainer = 'gamma': expected a tuple"),
        (CommandSpec, {"summary": 5}, "command 'net' has summary = 5: expected a string"),
    ],
)
def test_a_field_of_another_type_is_refused(record, given, expected):
    with pytest.raises(PluginError, match=expected):
        record(**{"name": "net", "target": "m:X", "summary": "", **given})


@pytest.mark.parametrize(
    ("kind", "words"), [("model", "a model"), ("data", "a data component"), ("evaluator", "an evaluator")]
)
def test_a_kind_has_its_article(kind, words):
    assert a_kind(kind) == words
