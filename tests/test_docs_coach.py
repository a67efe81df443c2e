"""The thresholds in docs/coach.md are those of the rules, and every rule is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dlpipe_generative.coach_rules as generative
import dlpipe_rl.coach_rules as rl
from dlpipe.coach import case, curves, examination, rules, verdict
from dlpipe.registry.loading import load_plugins

PAGE = (Path(__file__).parents[1] / "docs" / "coach.md").read_text(encoding="utf-8")
RULES = load_plugins().components["rule"]
ROWS = dict(re.findall(r"^\| `([a-z.-]+)` \| (.*) \|$", PAGE, re.M))


def percent(share: float) -> str:
    return f"{100 * share:g} %"


#: The thresholds in the row of each rule, in their order.
THRESHOLDS = {
    "diverging": [percent(case.DIVERGED), case.STANDARD_ERRORS],
    "unscaled-inputs": [rules.UNSCALED],
    "vanishing-gradients": [rules.VANISHED, rules.DEEP],
    "dead-units": [percent(rules.MANY_SILENT)],
    "saturated-units": [percent(rules.MANY_SATURATED), percent(examination.NEAR / 2)],
    "few-steps": [rules.SHORT_EPOCH, rules.SMALL_BATCH, rules.FEW_STEPS],
    "no-progress": [percent(rules.STUCK), percent(rules.HARDLY_MOVED)],
    "unfinished": [percent(rules.STILL_FALLING)],
    "rising": [percent(rules.STILL_RISING)],
    "imbalance": [percent(rules.IMBALANCED)],
    "late": [percent(case.WORSE), verdict.STANDARD_ERRORS, percent(case.LONG_BEFORE)],
    "rl.exploding-values": [rl.EXPLODED],
    "rl.entropy-collapsed": [rl.COLLAPSED],
    "rl.little-exploration": [rl.RARELY],
    "rl.late-exploitation": [rl.OFTEN, percent(rl.OVER)],
    "rl.forgotten": [rl.LEAST_EVALUATIONS, percent(rl.FORGOTTEN)],
    "generative.discriminator-wins": [percent(generative.WINS), generative.NOTHING_LEFT],
    "generative.mode-collapse": [percent(generative.COVERED), percent(generative.NEAR)],
}
#: Numbers in a row that are no thresholds: of units without gradient in a step, a probability, an interval.
OTHERS = {
    "dead-units": ["0"],
    "no-gradient": ["0"],
    "rl.entropy-collapsed": ["99 %"],
    "rl.forgotten": ["95 %"],
}


def numbers(text: str) -> list[str]:
    """Return the numbers in a text, without those in names."""
    return re.findall(r"(?<![\w`.])\d+(?:\.\d+)?(?: %)?", text)


def test_every_rule_is_in_the_docs_in_the_order_in_which_it_is_asked():
    listed = [name for name in ROWS if name in RULES]

    assert [name for name in listed if "." not in name] == [name for name in RULES if "." not in name]
    assert sorted(listed) == sorted(RULES)


@pytest.mark.parametrize("name", RULES)
def test_the_thresholds_of_a_rule_are_those_of_the_code(name):
    expected = [
        each if isinstance(each, str) else f"{each:.4f}".rstrip("0").rstrip(".") for each in THRESHOLDS.get(name, [])
    ]

    found = numbers(ROWS[name])
    for other in OTHERS.get(name, []):
        found.remove(other)

    assert found == expected


def test_the_thresholds_of_the_verdict_are_those_of_the_code():
    shares = {
        "not learned": [verdict.NOTHING_LEARNED],
        "good": [verdict.GOOD, verdict.GOOD],
        "none": [verdict.GOOD],
    }

    for name, expected in shares.items():
        (row,) = re.findall(rf"^\| {name} \| (.*) \|$", PAGE, re.M)
        assert numbers(row) == list(map(percent, expected))


def test_success_and_the_least_number_of_points_are_those_of_the_code():
    assert f"fewer than\n{percent(rl.SUCCESSES)} of its episodes are a success" in PAGE
    assert f"of its points, of which\nthere must be {curves.PARTS}." in PAGE
