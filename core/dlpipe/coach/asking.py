"""Asking the rules of all plugins about a case."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from dlpipe.coach.case import Case, Finding
from dlpipe.errors import PluginError, with_place
from dlpipe.registry.specs import RegisteredComponent, RuleSpec
from dlpipe.registry.targets import load_rule


def findings(
    rules: Iterable[RegisteredComponent[RuleSpec]], case: Case, note: Callable[[str], object]
) -> list[Finding]:
    """Return what all rules find, faults first.

    Args:
        rules: in the order in which they are asked; those that are a fallback come last.
        note: called with a sentence for each rule that could not be asked.
    """
    found: list[Finding] = []
    for rule in sorted(rules, key=lambda rule: rule.spec.fallback):
        if rule.spec.fallback and found:
            break
        if missing := rule.missing():
            note(f"the rule {rule.key} was not asked: it needs {', '.join(missing)}: {rule.install_command()}")
            continue
        try:
            found += ask(rule, case)
        except (Exception, SystemExit) as error:  # a plugin's code can raise anything
            note(f"the rule {rule.key} of {rule.distribution} failed: {with_place(error)}")
    return sorted(found, key=lambda each: each.advice)


def ask(rule: RegisteredComponent[RuleSpec], case: Case) -> list[Finding]:
    """Return what a rule finds, under its name.

    Raises:
        PluginError: it cannot be imported, or returns something else; and whatever the rule itself raises.
    """
    target = rule.spec.target
    answer = load_rule(target)(case)
    if not isinstance(answer, Iterable):
        raise PluginError(f"{target} returned {answer!r}; expected Finding records (does it `yield` them?)")
    found = []
    for each in answer:
        if not isinstance(each, Finding):
            raise PluginError(f"{target} gave {each!r}; expected Finding records")
        found.append(replace(each, rule=rule.key))
    return found
