from __future__ import annotations

import sys

import pytest

from dlpipe.coach.asking import findings
from dlpipe.coach.case import Case
from dlpipe.coach.curves import Curve, Curves
from dlpipe.coach.examination import Examination, Weights
from dlpipe.config.check import load_pipeline
from dlpipe.registry.loading import load_local_plugin, load_plugins

PLUGIN = """
from dlpipe import RuleSpec, hookimpl
from dlpipe.coach import Finding, Remedy

def advises(case):
    yield Finding("it could be better", "a number", "a reason", advice=True)

def finds(case):
    yield Finding("it is bad", "a number", "a reason", [Remedy("another seed", {"seed": 2})])

def guesses(case):
    yield Finding("who knows", "no number", "no reason")

def fails(case):
    yield Finding("it is lost", "", "")
    yield case.metric("train/entropy").points[0]

def forgets(case):
    Finding("it is not yielded", "", "")

def finding(**changes):
    return [Finding(**{"title": "t", "evidence": "e", "reason": "r"} | changes)]

def untitled(case): return finding(title=None)
def unsure(case): return finding(advice=None)
def lists(case): return finding(remedies=None)
def names(case): return finding(remedies=["dropout"])
def empties(case): return finding(remedies=[Remedy("nothing", {})])
def objects(case): return finding(remedies=[Remedy("an object", {"seed": object()})])

def tells(case):
    return ["it is slow"]

def reads(case):
    yield Finding(f"{case.value('model.hidden')} {case.metric('train/loss').last} {len(case.first.weights)}", "", "")

def shares(case):
    case.stage.model.values["hidden"].append(8)
    yield Finding("it is small", "", "", [Remedy("larger", {"model.hidden": case.value("model.hidden")})])

def edits(case):
    case.stage.trainer.values["optimizer"]["lr"] = 1.0
    case.records[0]["train/loss"] = 9.0
    return []

def cuts(case):
    case.curves.loss.points.clear()
    case.first.weights.pop()
    return []

@hookimpl
def dlpipe_rules():
    return [RECORDS]
"""
PIPELINE = """
name = "case"
[data]
use = "vision.digits"
[model]
use = "core.mlp"
hidden = [32]
[trainer]
use = "core.supervised"
steps = 20
optimizer = { use = "adam", lr = 0.1 }
[evaluators.digits]
use = "core.classification"
[evaluators.shown]
use = "core.loss"
"""


@pytest.fixture
def case(tmp_path):
    (tmp_path / "case.toml").write_text(PIPELINE)
    stage = load_pipeline(tmp_path / "case.toml", load_plugins()).stages[""]
    records = [
        {"step": 10, "train/loss": 2.0, "train/lr": 0.1},
        {"step": 20, "train/loss": None},
        {"step": 20, "dev/digits/accuracy": 0.5, "test/digits/accuracy": 0.6, "test/shown/loss": 1.5},
    ]
    first = Examination([Weights("layers.0", 0.1)], [], [], [], None, 1)
    curves = Curves(Curve([(10, 2.0)]), Curve([]), "max")
    return Case(stage, 20, None, None, "", curves, None, first, records=records)


@pytest.fixture
def ask(case, tmp_path):
    """Return a function that asks rules of a local plugin, and returns what they find, and the notes."""

    def ask(*specs):
        (tmp_path / "mine.py").write_text(PLUGIN.replace("RECORDS", ", ".join(specs)))
        registry = load_plugins({}, [])
        load_local_plugin(registry, tmp_path / "mine.py")
        notes = []
        return findings(registry.components["rule"].values(), case, notes.append), notes

    yield ask
    for name in [name for name in sys.modules if name.startswith("dlpipe_local_mine")]:
        del sys.modules[name]


def spec(name, options=""):
    return f'RuleSpec("it-{name}", ":{name}", ""{options})'


def test_faults_come_first_each_under_the_name_of_its_rule(ask):
    found, notes = ask(spec("advises"), spec("finds"))

    assert [(each.rule, each.title) for each in found] == [
        ("mine.it-finds", "it is bad"),
        ("mine.it-advises", "it could be better"),
    ]
    assert notes == []


def test_a_fallback_is_asked_only_if_nothing_else_was_found(ask):
    guess = spec("guesses", ", fallback=True")

    assert [each.rule for each in ask(guess, spec("advises"))[0]] == ["mine.it-advises"]
    assert [each.rule for each in ask(guess)[0]] == ["mine.it-guesses"]


def test_a_rule_that_fails_is_a_note_and_the_others_are_asked(ask, tmp_path):
    found, notes = ask(spec("fails"), spec("forgets"), spec("tells"), spec("gone"), spec("finds"))

    assert [each.rule for each in found] == ["mine.it-finds"]
    failed, forgot, told, gone = notes
    assert failed.startswith("the rule mine.it-fails of ")
    assert failed.endswith(f"failed: IndexError: list index out of range ({tmp_path}/mine.py:16, in fails)")
    assert forgot.endswith(":forgets returned None; expected Finding records (does it `yield` them?)")
    assert told.endswith(":tells gave 'it is slow'; expected Finding records")
    assert gone.endswith("has no gone")


@pytest.mark.parametrize(
    ("name", "changed"), [("shares", "stage"), ("edits", "stage and case.records"), ("cuts", "curves and case.first")]
)
def test_a_rule_that_changes_what_it_is_asked_about_is_a_note_and_no_other_sees_it(ask, name, changed):
    found, notes = ask(spec("reads"), spec(name), spec("reads").replace("it-reads", "it-reads-again"))

    assert [each.title for each in found] == ["[32] 2.0 1", "[32] 2.0 1"]
    assert len(notes) == 1
    assert notes[0].startswith(f"the rule mine.it-{name} of ")
    assert notes[0].endswith(
        f":{name} changed case.{changed}; expected a rule that only reads the case, and changes copies of its tables "
        "and lists"
    )


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("untitled", "gave a Finding with title = None; expected a text"),
        ("unsure", "gave a Finding with advice = None; expected True or False"),
        ("lists", "gave a Finding with remedies = None; expected a list of Remedy records"),
        ("names", "gave a Finding with remedies = ['dropout']; expected a list of Remedy records"),
        ("empties", "gave Remedy(name='nothing', values={}); expected a name and values that TOML has, such as"),
        ("objects", "gave Remedy(name='an object', values={'seed': <object object at"),
    ],
)
def test_a_finding_that_cannot_be_shown_is_a_note(ask, name, note):
    found, notes = ask(spec(name), spec("finds"))

    assert [each.rule for each in found] == ["mine.it-finds"]
    assert len(notes) == 1
    assert note in notes[0]


def test_a_package_that_nothing_is_known_to_install_is_named_alone(ask):
    assert ask(spec("finds", ', requires=("no-such-package",)'))[1] == [
        "the rule mine.it-finds was not asked: it needs no-such-package"
    ]


def test_the_values_of_other_tables_are_not_those_of_a_key(case):
    for path in ("evaluators.digits.count", "model", "seed"):
        with pytest.raises(ValueError, match=f'"{path}": expected a key of data, model or trainer, such as'):
            case.value(path)


def test_a_rule_whose_packages_are_missing_is_a_note(ask):
    found, notes = ask(spec("finds", ', requires=("no-such-package",), extra="mine[all]"'))

    assert found == []
    assert notes == [
        'the rule mine.it-finds was not asked: it needs no-such-package: pip install "mine[all]"',
    ]


def test_a_case_has_the_metrics_of_the_run_by_name(case):
    assert case.metric("train/loss") == Curve([(10, 2.0)])
    assert case.metric("train/entropy") == Curve([])
    assert case.metric("train/loss").last == 2.0
    assert not case.metric("train/entropy").last < 1  # NaN


def test_a_case_has_the_metrics_of_an_evaluator_by_its_component(case):
    assert case.evaluated("core.classification", "accuracy") == Curve([(20, 0.5)])  # on dev
    assert case.evaluated("core.loss", "loss") == Curve([(20, 1.5)])  # on test, as dev has none
    assert case.evaluated("core.regression", "r2") == Curve([])


def test_a_case_has_the_values_of_the_pipeline(case):
    assert case.value("trainer.use") == "core.supervised"
    assert case.value("model.activation") == "relu"
    assert case.value("model.depth") is None
