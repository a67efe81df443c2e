"""Checking the tables of one stage: its data, model, trainer, evaluators and callbacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlpipe.config.check_table import TableChecker, inner_owners
from dlpipe.config.pipeline import ComponentConfig, Stage
from dlpipe.config.renames import use_current_names
from dlpipe.config.report import Report, key_at, table_at
from dlpipe.config.settings import LoopOptions
from dlpipe.config.signatures import Signature, read_signature
from dlpipe.config.source import dotted
from dlpipe.config.tables import KIND_OF_GROUP, KIND_OF_TABLE, SETTINGS, TAKES_FACTS, keys_of, options_of, renamed_keys
from dlpipe.config.toml_lines import KeyPath
from dlpipe.errors import PluginError
from dlpipe.messages import shown
from dlpipe.registry.loading import Registry
from dlpipe.registry.specs import RegisteredComponent, a_kind

#: Names of stages, evaluators and callbacks become folders and parts of metric names.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: A message about a missing table gives at most this many examples.
MAX_EXAMPLES = 4


@dataclass
class StageChecker:
    """Checks the tables of one stage.

    Args:
        name: of the stage; empty in a file without ``[stages]``.
        tables: as the file gives them.
        path: of these tables in the file; () in a file without ``[stages]``.
    """

    report: Report
    registry: Registry
    name: str
    tables: Mapping[str, Any]
    path: KeyPath
    data: ComponentConfig[Any] | None = None

    def check(self) -> Stage | None:
        """Return the checked stage, or None if a table that it needs cannot be understood."""
        self.data = self._required("data")
        signature = self._trainer_signature()
        model = None
        if "model" in self.tables or signature is None or "model" in signature.parameters:
            model = self._required("model")
        trainer = self._required("trainer")
        evaluators, callbacks = self._group("evaluators"), self._group("callbacks")
        self._check_train(evaluators)
        self._check_baselines(evaluators)
        self._check_loop(self._monitored(evaluators))
        if model and trainer and trainer.component.spec.replaces_weights:
            self._refuse_weights(model, trainer)
        if not (self.data and trainer and signature):
            return None
        options = {key: value for key, value in trainer.values.items() if key in options_of("trainer")}
        own = {key: value for key, value in trainer.values.items() if key in signature.parameters}
        trainer = ComponentConfig(trainer.component, trainer.table, own, trainer.references)
        baselines = {
            name: tuple(filter(None, (self.registry.find("model", each) for each in use.component.spec.baselines)))
            for name, use in evaluators.items()
        }
        return Stage(self.name, self.data, model, trainer, LoopOptions(**options), evaluators, callbacks, baselines)

    def _refuse_weights(self, model: ComponentConfig[Any], trainer: ComponentConfig[Any]) -> None:
        """Report options of the model that concern weights which the trainer does not use."""
        for key in ("start", "freeze"):
            if model.references.get(key) or model.values.get(key):
                path = (*self.path, "model", key)
                use = f'{trainer.table} use = "{trainer.component.name}"'
                effect = f"has no effect with {use}, which computes all weights itself"
                self.report.add(path, f"{key_at(path)} {effect}; remove it or choose another trainer")

    def _trainer_signature(self) -> Signature | None:
        """Return the signature of the trainer; None if it is unknown or broken, which is reported elsewhere."""
        component = _registered(self.registry, "trainer", self.tables.get("trainer"))
        try:
            return read_signature(component.spec.target) if component else None
        except PluginError:
            return None

    def _required(self, table: str) -> ComponentConfig[Any] | None:
        kind, path = KIND_OF_TABLE[table], (*self.path, table)
        if table in self.tables:
            return self._component(kind, self.tables[table], path)
        known = sorted(self.registry.components[kind])
        examples = ", ".join(known[:MAX_EXAMPLES]) + (" …" if len(known) > MAX_EXAMPLES else "")
        self.report.add(
            self.path, f'missing table {table_at(path)}; add it with use = "…" (available: {examples or "none"})'
        )
        return None

    def _group(self, group: str) -> dict[str, ComponentConfig[Any]]:
        """Check all ``[evaluators.NAME]`` or ``[callbacks.NAME]``."""
        kind, path, tables = KIND_OF_GROUP[group], (*self.path, group), self.tables.get(group, {})
        if not isinstance(tables, dict):
            self.report.add(path, f"{group} = {shown(tables)}: expected tables such as [{group}.NAME]")
            return {}
        if "use" in tables and not isinstance(tables["use"], dict):
            message = f"[{group}] use = {shown(tables['use'])}: give each {kind} a name, such as [{group}.mine]"
            self.report.add((*path, "use"), message)
            return {}
        checked = {}
        for name, table in tables.items():
            check_name(self.report, kind, name, (*path, name))
            if component := self._component(kind, table, (*path, name)):
                checked[name] = component
        return checked

    def _component(self, kind: str, table: Any, path: KeyPath) -> ComponentConfig[Any] | None:
        """Check the table of one component."""
        if not isinstance(table, dict):
            self.report.add(path, f'{dotted(path)} = {shown(table)}: expected a table with use = "…"')
            return None
        component = self._selected(kind, table, path)
        if component is None:
            return None
        use = f'{key_at((*path, "use"))} = "{component.name}"'
        if missing := component.missing():
            install = f"; install with: {component.install_command()}" if component.spec.extra else ""
            self.report.add((*path, "use"), f"{use} needs {', '.join(missing)}{install}", plugin=True)
        try:
            known = keys_of(component.spec)
        except PluginError as error:
            self.report.add((*path, "use"), f"{use} ({component.distribution}): {error}", plugin=True)
            return None
        use_current_names(self.report, path, known, renamed_keys(component.spec))
        owners = key_owners(self.registry, self.tables, self.path)
        checker = TableChecker(self.report, self.registry, path, component.name, known, owners)
        given = {key: value for key, value in table.items() if key != "use"}
        values, references = checker.check(given)
        start = values.pop("start", None) if kind == "model" else None
        if start is not None and (found := checker.start(start)):
            references["start"] = found
        self._check_required(component, checker, given)
        return ComponentConfig(component, table_at(path), values, references)

    def _selected(self, kind: str, table: Mapping[str, Any], path: KeyPath) -> RegisteredComponent[Any] | None:
        """Return the component that ``use`` selects, or report why there is none."""
        place, use = table_at(path), table.get("use")
        if not isinstance(use, str):
            found = f"use = {shown(use)}" if "use" in table else "missing key `use`"
            message = f'{place} {found}: expected the name of {a_kind(kind)}, such as "namespace.name"'
            self.report.add((*path, "use"), message)
            return None
        component = self.registry.find(kind, use)
        if component is None:
            reason, plugin = self.registry.why_missing(kind, use)
            self.report.add((*path, "use"), f"{place} use = {shown(use)}: {reason}", plugin=plugin)
        elif component.name != use:
            self.report.warn(
                (*path, "use"), f'{place} use = {shown(use)} was renamed to "{component.name}"; use the new name'
            )
        return component

    def _check_required(
        self, component: RegisteredComponent[Any], checker: TableChecker, given: Mapping[str, Any]
    ) -> None:
        """Report required keys that neither the table nor the data provides."""
        takes_facts = component.spec.kind in TAKES_FACTS
        for parameter in checker.missing(given):
            if not takes_facts:
                checker.report_missing(parameter)
            elif self.data and parameter.name not in self.data.component.spec.facts:
                offers = self.registry.components["data"].values()
                others = sorted(other.name for other in offers if parameter.name in other.spec.facts)
                if not others:
                    checker.report_missing(parameter)
                    continue
                self.report.add(
                    checker.path,
                    f"{table_at(checker.path)} {component.name} needs `{parameter.name}`, which data "
                    f"{self.data.component.name} does not provide; take data that does ({', '.join(others)}), or "
                    "set it here",
                )

    def _check_train(self, evaluators: Mapping[str, ComponentConfig[Any]]) -> None:
        """Check what evaluators are to do with the training split."""
        for name, use in evaluators.items():
            path, splits, most = (*self.path, "evaluators", name), use.values["splits"], use.values["train_examples"]
            if splits is None:  # a mistake that is reported elsewhere
                continue
            if "train" in splits and use.component.spec.not_on_train:
                key, reason = (*path, "splits"), use.component.spec.not_on_train
                rest = [split for split in splits if split != "train"] or ["dev", "test"]
                self.report.add(
                    key,
                    f"{key_at(key)} = {shown(list(splits))}: {use.component.name} cannot judge training examples: "
                    f"{reason}; expected {shown(rest)}",
                )
            if most is not None and "train" not in splits:
                key, more = (*path, "train_examples"), shown(["train", *splits])
                only = f'has an effect only with "train" in splits; remove it, or set splits = {more}'
                self.report.add(key, f"{key_at(key)} = {most} {only}")

    def _check_baselines(self, evaluators: Mapping[str, ComponentConfig[Any]]) -> None:
        """Check that evaluators without baselines are not told to leave them out."""
        for name, use in evaluators.items():
            if use.values["compare_baselines"] is False and not use.component.spec.baselines:
                key = (*self.path, "evaluators", name, "compare_baselines")
                self.report.add(
                    key,
                    f"{key_at(key)} = false has no effect: {use.component.name} has no simple predictors to compare "
                    "with; remove it",
                )

    def _monitored(self, checked: Mapping[str, ComponentConfig[Any]]) -> list[str]:
        """Return the evaluators that run on the dev split, and those of which a mistake hides whether they do."""
        names = self.tables.get("evaluators")
        names = names if isinstance(names, dict) else {}
        return [name for name in names if name not in checked or "dev" in (checked[name].values["splits"] or ["dev"])]

    def _check_loop(self, monitored: Sequence[str]) -> None:
        """Check the keys of ``[trainer]`` against each other; each by itself is checked elsewhere."""
        table, path = self.tables.get("trainer"), (*self.path, "trainer")
        if not isinstance(table, dict):
            return
        component = _registered(self.registry, "trainer", table)
        ends = [*(component.spec.budget if component else ()), "epochs", "steps", "minutes"]
        finite = component is not None and component.spec.finite
        if not finite and not set(ends) & set(table):
            self.report.add(path, f"{table_at(path)} has no end; give {', '.join(ends[:-1])} or {ends[-1]}")
        nothing = "no evaluator runs on the dev split; add one to [evaluators], or remove"
        if "patience" in table and not monitored:
            key = (*path, "patience")
            self.report.add(key, f"{key_at(key)} = {shown(table['patience'])}: {nothing} patience")
        if isinstance(monitor := table.get("monitor"), str):
            parts, key = monitor.split("/"), (*path, "monitor")
            if len(parts) != 3 or parts[0] != "dev" or parts[1] not in monitored:
                expected = ", ".join(f"dev/{name}/…" for name in monitored)
                expected = f"expected one of {expected}" if expected else f"{nothing} monitor"
                if parts[0] == "train":
                    expected = f"checkpoints are compared on examples that the model does not learn from; {expected}"
                self.report.add(key, f"{key_at(key)} = {shown(monitor)}: {expected}")


def check_name(report: Report, kind: str, name: str, path: KeyPath) -> None:
    """Check the name that a file gives to a stage, an evaluator or a callback."""
    if not NAME.fullmatch(name):
        expected = "expected letters, digits, '-', '_' and '.', starting with a letter or digit"
        report.add(path, f"{shown(name)} cannot be the name of {a_kind(kind)}; {expected}")


def key_owners(registry: Registry, tables: Mapping[str, Any], path: KeyPath) -> list[tuple[str, Iterable[str]]]:
    """Return the places of a file and the keys that belong there: ``[("[model]", {"dropout", …}), …]``.

    What the data provides is not among them: nobody has to write it.

    Args:
        tables: those of the stage at `path`.
    """
    owners: list[tuple[str, Iterable[str]]] = [(table_at(()), read_signature(SETTINGS).parameters)]
    data = _registered(registry, "data", tables.get("data"))
    facts = data.spec.facts if data else ()
    for table, kind in KIND_OF_TABLE.items():
        component = _registered(registry, kind, tables.get(table))
        keys: Iterable[str] = options_of(kind)
        if component:
            try:
                keys = {
                    key: parameter
                    for key, parameter in keys_of(component.spec).items()
                    if not (parameter.required and kind in TAKES_FACTS and key in facts)
                }
            except PluginError:  # reported where the table is checked
                continue
        owners.append((table_at((*path, table)), keys))
        if isinstance(keys, Mapping):
            owners += inner_owners(keys, tables.get(table, {}), (*path, table))
    return owners


def _registered(registry: Registry, kind: str, table: Any) -> RegisteredComponent[Any] | None:
    name = table.get("use") if isinstance(table, dict) else None
    return registry.find(kind, name) if isinstance(name, str) else None
