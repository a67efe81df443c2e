"""Asking the rules of all plugins about a case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

from dlpipe.coach.case import Case, Finding, Remedy
from dlpipe.config.toml_text import inline
from dlpipe.errors import PluginError, with_place
from dlpipe.registry.specs import RegisteredComponent, RuleSpec
from dlpipe.registry.targets import load_rule


def findings(
    rules: Iterable[RegisteredComponent[RuleSpec]],
    case: Case,
    note: Callable[[str], object],
    fits: Callable[[Remedy], bool] = lambda remedy: True,
) -> list[Finding]:
    """Return what all rules find, faults first.

    Args:
        rules: in the order in which they are asked; those that are a fallback come last.
        note: called with a sentence for each rule that could not be asked.
        fits: whether the pipeline takes a remedy; others are left out.
    """
    found: list[Finding] = []
    for rule in sorted(rules, key=lambda rule: rule.spec.fallback):
        if rule.spec.fallback and found:
            break
        if missing := rule.missing():
            install = rule.install_command()
            note(f"the rule {rule.key} was not asked: it needs {', '.join(missing)}{install and f': {install}'}")
            continue
        try:
            found += [replace(each, remedies=list(filter(fits, each.remedies))) for each in ask(rule, case)]
        except (Exception, SystemExit) as error:  # a plugin's code can raise anything
            note(f"the rule {rule.key} of {rule.distribution} failed: {with_place(error)}")
    return sorted(found, key=lambda each: each.advice)


def ask(rule: RegisteredComponent[RuleSpec], case: Case) -> list[Finding]:
    """Return what a rule finds, under its name. It gets a copy of the case, so that no other rule sees what it changes.

    Raises:
        PluginError: it cannot be imported, returns something else, or changes the case; and whatever the rule itself
            raises.
    """
    target, own = rule.spec.target, _copied(case)
    answer = load_rule(target)(own)
    if not isinstance(answer, Iterable):
        raise PluginError(f"{target} returned {answer!r}; expected Finding records (does it `yield` them?)")
    found = []
    for each in answer:
        if not isinstance(each, Finding):
            raise PluginError(f"{target} gave {each!r}; expected Finding records")
        _check(target, each)
        found.append(replace(each, rule=rule.key))
    if changed := [name for name in vars(case) if getattr(own, name) != getattr(case, name)]:
        raise PluginError(
            f"{target} changed {' and '.join(f'case.{name}' for name in changed)}; expected a rule that only reads the "
            "case, and changes copies of its tables and lists"
        )
    return found


def _copied(case: Case) -> Case:
    """Return a copy of a case, of which a rule can change anything."""
    # Of thousands of points and lines, deepcopy would take as long as the rest of the examination.
    lines: Any = type(case.records)
    copies = {id(points): copy(points) for points in (case.curves.loss.points, case.curves.dev.points)}
    return deepcopy(case, copies | {id(case.records): lines(map(copy, case.records))})


def _check(target: str, found: Finding) -> None:
    """Refuse a finding that cannot be shown."""
    for name in ("title", "evidence", "reason"):
        if not isinstance(text := getattr(found, name), str):
            raise PluginError(f"{target} gave a Finding with {name} = {text!r}; expected a text")
    if not isinstance(found.advice, bool):
        raise PluginError(f"{target} gave a Finding with advice = {found.advice!r}; expected True or False")
    if not isinstance(found.remedies, Sequence) or not all(isinstance(each, Remedy) for each in found.remedies):
        raise PluginError(
            f"{target} gave a Finding with remedies = {found.remedies!r}; expected a list of Remedy records"
        )
    for remedy in found.remedies:
        _check_remedy(target, remedy)


def _check_remedy(target: str, remedy: Remedy) -> None:
    expected = 'expected a name and values that TOML has, such as Remedy("dropout", {"model.dropout": 0.5})'
    if (
        not isinstance(remedy.name, str)
        or not remedy.name
        or not isinstance(remedy.values, Mapping)
        or not remedy.values
    ):
        raise PluginError(f"{target} gave {remedy!r}; {expected}")
    try:
        inline(dict(remedy.values))
    except (TypeError, ValueError) as error:
        raise PluginError(f"{target} gave {remedy!r}; {expected}") from error
