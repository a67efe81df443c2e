"""The conformance kit: one named check for each component of a plugin and each rule that it has to keep.

Collecting the checks imports no torch and builds nothing: the rules are named as strings, and imported when a check
runs.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import ComponentConfig, Pipeline, Stage
from dlpipe.config.plugin_check import COMPONENT_RULES, check_import
from dlpipe.errors import DlpipeError, with_place
from dlpipe.messages import nearest
from dlpipe.registry.loading import Plugin, Registry, load_plugins
from dlpipe.registry.specs import KINDS, SELECTABLE, RegisteredComponent
from dlpipe.registry.targets import load_target

LOADED, LIGHT = "can be loaded", "is imported fast and silently"
USED = "is used by a pipeline"
REHEARSED = "passes the rehearsal of a run"
#: Applies to data for which an item is given.
ITEM_RULE = "encodes an item as its splits"
#: Applies to models that `SUPERVISED` trains: it minimizes a loss of each batch.
LEARNING_RULE, SUPERVISED = "learns one batch by heart", "core.supervised"
#: Applies to rules of the coach, in every stage of the pipelines.
COACH_RULE = "copes with a training of which little is known"
#: The rules for a component that a pipeline uses: kind, rule, and the function that checks it, which takes a `Use`.
RULES = (
    ("data", "gives the same split twice", "dlpipe.testing.data_rules:same_split"),
    ("data", "is the same when it is built again", "dlpipe.testing.data_rules:same_data"),
    ("data", "reaches worker processes", "dlpipe.testing.data_rules:reaches_workers"),
    ("data", ITEM_RULE, "dlpipe.testing.data_rules:encodes_an_item"),
    ("model", "has the same weights under one seed", "dlpipe.testing.rules:same_weights"),
    ("model", LEARNING_RULE, "dlpipe.testing.rules:learns_one_batch"),
    ("trainer", "resumes exactly", "dlpipe.testing.rules:resumes_exactly"),
    ("evaluator", "gives finite metrics", "dlpipe.testing.rules:finite_metrics"),
    ("evaluator", "gives the same metrics twice", "dlpipe.testing.rules:same_metrics"),
    ("evaluator", "writes its files", "dlpipe.testing.rules:writes_files"),
    ("callback", "survives every lifecycle hook", "dlpipe.testing.rules:survives_hooks"),
    *((kind, REHEARSED, "dlpipe.testing.rules:passes_rehearsal") for kind in ("data", "model", "trainer", "evaluator")),
)


@dataclass(frozen=True)
class Check:
    """One rule for one component; call it to check it, without arguments.

    Args:
        subject: full name of the component, or the namespace of the plugin.
        rule: what has to be true of it.
        expected_failure: why it is not yet; the check passes as long as it is not.
    """

    subject: str
    rule: str
    verify: Callable[[], object] = field(repr=False, compare=False)
    expected_failure: str = ""

    def __str__(self) -> str:
        return f"{self.subject}: {self.rule}"

    def __call__(self) -> None:
        """Check the rule.

        Raises:
            AssertionError: the component breaks it, or keeps it although that is an expected failure.
            unittest.SkipTest: the component needs what is not installed; pytest skips the test.
        """
        try:
            self._verify()
        except AssertionError:
            if not self.expected_failure:
                raise
        else:
            if self.expected_failure:
                raise AssertionError(f'"{self}" passes now; remove it from expected_failures')

    def _verify(self) -> None:
        try:
            self.verify()
        except unittest.SkipTest:
            raise
        except (DlpipeError, AssertionError) as error:
            raise AssertionError(f"{self}: {error}") from error
        except Exception as error:  # of the component
            raise AssertionError(f"{self}: {with_place(error)}") from error


@dataclass(frozen=True, eq=False)
class Use:
    """A stage of a pipeline that uses a component.

    Args:
        file: of the pipeline.
        assignments: changes to it.
        config: the table of the component.
        namespace: of the plugin that is checked.
        item: for the component if it is data: what a person would give to ``dlpipe predict``.
    """

    file: Path
    assignments: tuple[str, ...]
    allow_local_plugins: bool
    pipeline: Pipeline
    stage: Stage
    config: ComponentConfig[Any]
    namespace: str
    item: str | None = None

    @property
    def place(self) -> str:
        """Which table of which file it is, for messages."""
        return f"{self.file.name}: {self.config.table}"


def component_checks(
    namespace: str,
    *,
    pipelines: Iterable[str | Path] = (),
    assignments: Iterable[str] = (),
    items: Mapping[str, str] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    allow_local_plugins: bool = False,
) -> list[Check]:
    """Return the checks of everything that a plugin offers: one per component and rule.

    Give them to pytest, which runs each as a test of its own::

        @pytest.mark.parametrize("check", component_checks("mine", pipelines=["mine.toml"]), ids=str)
        def test_component(check):
            check()

    Args:
        namespace: of the plugin, which must be installed; or of a local plugin that a pipeline names.
        pipelines: files that use its components in small: each component must be used by one of them, and is built
            and tried as that file says. Their runs should take seconds.
        assignments: changes to all pipelines, such as ``"trainer.epochs=2"``.
        items: by the name of data, an item such as a person gives to ``dlpipe predict``.
        expected_failures: why a check fails, by its name (``"mine.model: learns one batch by heart"``). Such a check
            passes as long as the rule is broken, and fails when it is kept.
        allow_local_plugins: let the pipelines run Python files that they name.

    Raises:
        PipelineError: a pipeline has mistakes.
        ValueError: `expected_failures` or `items` has a name that does not exist.
    """
    registry, changes = load_plugins(), tuple(assignments)
    uses: list[Use] = []
    if allow_local_plugins or not _why_unusable(registry, namespace):
        uses = [
            use
            for file in map(Path, pipelines)
            for use in _uses_of(file, registry, changes, namespace, items or {}, allow_local_plugins)
        ]
    if cause := _why_unusable(registry, namespace):
        return [Check(namespace, LOADED, partial(_fail, cause))]
    plugin = next(each for each in registry.plugins if each.namespace == namespace)
    reasons = expected_failures or {}
    checks = [*_checks(registry, plugin, uses, reasons)]
    _require_known("expected_failures", reasons, [str(check) for check in checks])
    _require_known("items", items or {}, [name for name in registry.components["data"] if _owned(name, namespace)])
    return checks


def _why_unusable(registry: Registry, namespace: str) -> str:
    """Return why a plugin cannot be used, an empty string if it can."""
    plugin = next((each for each in registry.plugins if each.namespace == namespace), None)
    if plugin is not None:
        return "" if plugin.status == "ok" else str(plugin)
    known = [each.namespace for each in registry.plugins]
    hint = nearest(namespace, known) or f" Installed: {', '.join(known)}"
    return f"no plugin with this namespace is installed.{hint}; install yours with: pip install -e ."


def _checks(registry: Registry, plugin: Plugin, uses: list[Use], reasons: Mapping[str, str]) -> Iterator[Check]:
    """Yield all checks of a plugin."""

    def check(subject: str, rule: str, verify: Callable[[], object]) -> Check:
        return Check(subject, rule, verify, reasons.get(f"{subject}: {rule}", ""))

    yield check(plugin.namespace, LOADED, lambda: None)
    if not is_local(plugin.distribution):  # a local plugin is its components, too, so it may import torch
        yield check(plugin.namespace, LIGHT, lambda: _require_none(check_import(plugin)))
    stages = [use.stage for use in uses if use.config is use.stage.trainer]
    for kind in KINDS:
        for component in registry.components[kind].values():
            if component.namespace != plugin.namespace:
                continue
            for rule, found in COMPONENT_RULES.items():
                yield check(component.name, rule, partial(_static, component, found))
            if kind == "rule" and stages:
                yield check(component.name, COACH_RULE, partial(_asked, component, stages))
            if kind in SELECTABLE:
                own = [use for use in uses if use.config.component.name == component.name]
                yield check(component.name, USED, partial(_used, component, bool(own)))
                for rule, target, chosen in _rules_for(kind, own):
                    yield check(component.name, rule, partial(_dynamic, component, target, chosen))


def _rules_for(kind: str, uses: list[Use]) -> Iterator[tuple[str, str, list[Use]]]:
    """Yield the rules for a component, their functions, and the uses of it to which they apply."""
    for of_kind, rule, target in RULES:
        chosen = [
            use
            for use in uses
            if (rule != ITEM_RULE or use.item is not None)
            and (rule != LEARNING_RULE or use.stage.trainer.component.name == SUPERVISED)
        ]
        if of_kind == kind and chosen:
            yield rule, target, chosen


def _uses_of(
    file: Path,
    registry: Registry,
    assignments: tuple[str, ...],
    namespace: str,
    items: Mapping[str, str],
    allow_local_plugins: bool,
) -> Iterator[Use]:
    """Yield the tables of a pipeline."""
    pipeline = load_pipeline(file, registry, assignments, allow_local_plugins=allow_local_plugins)
    for stage in pipeline.stages.values():
        tables = (stage.data, stage.model, stage.trainer, *stage.evaluators.values(), *stage.callbacks.values())
        for config in tables:
            if config is not None:
                item = items.get(config.component.name)
                yield Use(file, assignments, allow_local_plugins, pipeline, stage, config, namespace, item)


def _static(component: RegisteredComponent[Any], found: Callable[[RegisteredComponent[Any]], Iterator[str]]) -> None:
    _skip_if_missing(component)
    _require_none(found(component))


def _dynamic(component: RegisteredComponent[Any], target: str, uses: list[Use]) -> None:
    _skip_if_missing(component)
    rule = load_target(target)
    for use in uses:
        rule(use)


def _asked(component: RegisteredComponent[Any], stages: list[Stage]) -> None:
    _skip_if_missing(component)
    load_target("dlpipe.testing.coach_rules:copes_with_little_known")(component, stages)


def _used(component: RegisteredComponent[Any], used: bool) -> None:
    _skip_if_missing(component)  # a pipeline cannot use it either
    kind = component.spec.kind
    where = f"[{kind}]" if kind in ("data", "model", "trainer") else f"[{kind}s.NAME]"
    assert used, (
        f"no pipeline given to component_checks() uses it, so that nothing has been tried; expected one with "
        f'{where} use = "{component.name}"'
    )


def _skip_if_missing(component: RegisteredComponent[Any]) -> None:
    if missing := component.missing():
        raise unittest.SkipTest(f"{component.name} needs {', '.join(missing)}: {component.install_command()}")


def _require_none(problems: Iterable[str]) -> None:
    if found := list(problems):
        _fail("; ".join(found))


def _fail(problem: str) -> None:
    raise AssertionError(problem)


def is_local(distribution: str) -> bool:
    """Return whether a plugin is a Python file next to a pipeline: its distribution is that file."""
    return Path(distribution).is_file()


def _owned(name: str, namespace: str) -> bool:
    return name.partition(".")[0] == namespace


def _require_known(what: str, names: Iterable[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            expected = nearest(name, known) or f" Expected one of: {'; '.join(known)}"
            raise ValueError(f"{what} names {name!r}, which does not exist.{expected}")
