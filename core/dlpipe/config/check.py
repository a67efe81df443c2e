"""From what a pipeline file says to what it means, with every mistake named at once.

The tables are checked against the signatures of the components they ask for. Nothing is imported
that a component needs: no torch, no plugin beyond its ``plugin.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pydantic
from typing_extensions import is_typeddict

from dlpipe.config.pipeline import ComponentConfig, Pipeline, Reference, Stage
from dlpipe.config.settings import EvaluatorOptions, LoopOptions, Settings
from dlpipe.config.signatures import Computed, Parameter, Signature, read_signature
from dlpipe.config.source import KeyPath, Source, dotted, read_source
from dlpipe.config.torch_names import CHOICES, GIVEN, TOTAL_STEPS
from dlpipe.errors import PipelineError, PluginError, Problem
from dlpipe.fields import ModelReference, describe, part_of, table_keys
from dlpipe.messages import nearest, shown
from dlpipe.registry.loading import Registry, load_local_plugin
from dlpipe.registry.specs import RegisteredComponent

SETTINGS = f"{Settings.__module__}:{Settings.__qualname__}"
#: What the core itself takes in every table of a kind.
OPTIONS = {
    "trainer": f"{LoopOptions.__module__}:{LoopOptions.__qualname__}",
    "evaluator": f"{EvaluatorOptions.__module__}:{EvaluatorOptions.__qualname__}",
}
TABLES = ("data", "model", "trainer", "evaluators", "callbacks")
#: What only `dlpipe sweep` reads; see `dlpipe.sweep.plan`.
SWEEP = "sweep"
KIND_OF_TABLE = {"data": "data", "model": "model", "trainer": "trainer"}
KIND_OF_GROUP = {"evaluators": "evaluator", "callbacks": "callback"}
#: What the core hands to components that name a parameter so; these are no keys of their tables.
PROVIDED = {"data": {"offline"}, "trainer": {"model", "data", "compute", "seed", "budget"}}
#: Of stages, evaluators and callbacks: they become names of folders and parts of a metric's name.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def load_pipeline(
    file: str | Path,
    registry: Registry,
    assignments: Iterable[str] = (),
    *,
    allow_local_plugins: bool = False,
) -> Pipeline:
    """Read and check a pipeline file.

    Args:
        file: the TOML file.
        registry: what the installed plugins offer; local plugins are added to it.
        assignments: texts such as ``"trainer.epochs=3"``, which win over the file.
        allow_local_plugins: load the Python files that ``plugins`` names. A pipeline file is data;
            only the caller can allow it to run code.

    Raises:
        PipelineError: with all mistakes of the file; its exit code is 3 if a plugin that the file
            needs is missing or broken.
    """
    return check_source(read_source(file, assignments), registry, allow_local_plugins=allow_local_plugins)


def check_source(source: Source, registry: Registry, *, allow_local_plugins: bool = False) -> Pipeline:
    """Check what `read_source` has read; see `load_pipeline`."""
    checker = _Checker(source, registry)
    checker.load_local(allow_local_plugins)
    pipeline = checker.pipeline()
    if checker.problems or pipeline is None:
        raise PipelineError(checker.problems, exit_code=3 if checker.plugin_missing else 2)
    return pipeline


@dataclass
class _Checker:
    source: Source
    registry: Registry
    problems: list[Problem] = field(default_factory=list)
    plugin_missing: bool = False
    local_plugins: list[Path] = field(default_factory=list)
    stage_references: list[tuple[KeyPath, str]] = field(default_factory=list)

    def problem(self, path: KeyPath, message: str) -> None:
        origin = self.source.origin(path)
        self.problems.append(Problem(origin.file, origin.line, message))

    def load_local(self, allowed: bool) -> None:
        names = self.source.values.pop("plugins", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self.problem(("plugins",), f'plugins = {shown(names)}: expected a list such as ["./mine.py"]')
            return
        folder = self.source.origin(("plugins",)).folder.resolve()
        for name in names:
            path = folder / name
            if "\0" in name or folder not in path.resolve().parents:
                self.problem(("plugins",), f'plugins: "{name}" lies outside the folder of the pipeline file')
            elif not allowed:
                self.problem(
                    ("plugins",), f'plugins: "{name}" would run code of yours; allow it: --allow-local-plugins'
                )
            else:
                try:
                    load_local_plugin(self.registry, path.resolve())
                    self.local_plugins.append(path.resolve())
                except PluginError as error:
                    self.plugin_missing = True
                    self.problem(("plugins",), str(error))

    def pipeline(self) -> Pipeline | None:
        values = self.source.values
        signature = read_signature(SETTINGS)
        staged = "stages" in values
        known = {*signature.parameters, SWEEP, *(("stages",) if staged else (*TABLES, "stages"))}
        for key in values:
            if key not in known:
                self._unknown_top_level(key, staged, known)
        top = {key: value for key, value in values.items() if key in signature.parameters}
        settings = self.parameters(top, signature.parameters, (), "the pipeline")
        for name in set(signature.parameters) - set(top):
            if signature.parameters[name].required:
                example = "slot-filling"
                self.problem((), f'missing key `{name}`; expected at the top of the file, such as {name} = "{example}"')
        stages = self._stages(values)
        if self.problems:
            return None
        checked = {name: stage for name, stage in stages.items() if stage}
        return Pipeline(Settings(**settings[0]), checked, self.source, tuple(self.local_plugins))

    def _unknown_top_level(self, key: str, staged: bool, known: set[str]) -> None:
        path = (key,)
        if staged and key in TABLES:
            self.problem(path, f"[{key}] stands beside [stages]; write it as [stages.NAME.{key}]")
        elif owner := self._owner(key, ()):
            self.problem(path, f"`{key}` belongs to {owner}, not to the top of the file")
        else:
            is_table, name = isinstance(self.source.values[key], dict), dotted(path)
            what = f"[{name}]: unknown table" if is_table else f"`{name}`: unknown key"
            self.problem(path, f"{what}.{nearest(key, known)}")

    def _stages(self, values: Mapping[str, Any]) -> dict[str, Stage | None]:
        if "stages" not in values:
            stage = self._stage("", {key: values[key] for key in TABLES if key in values}, ())
            for path, wanted in self.stage_references:
                place = "{}{}".format(*_place(path))
                self.problem(path, f"{place} = {{ stage = {shown(wanted)} }}: this file has no [stages]")
            return {"": stage}
        tables = values["stages"]
        if not isinstance(tables, dict) or not tables:
            self.problem(("stages",), f"stages = {shown(tables)}: expected tables such as [stages.pretrain.data]")
            return {}
        stages: dict[str, Stage | None] = {}
        for name, table in tables.items():
            path = ("stages", name)
            if not isinstance(table, dict):
                expected = f"expected a table with [{dotted(path)}.data] and so on"
                self.problem(path, f"{dotted(path)} = {shown(table)}: {expected}")
                continue
            for key in table:
                if key not in TABLES:
                    self.problem(
                        (*path, key), f"[{dotted(path)}] {dotted((key,))}: unknown table.{nearest(key, TABLES)}"
                    )
            self._check_name("stage", name, path)
            stages[name] = self._stage(name, table, path)
        self._check_references(list(tables))
        return stages

    def _stage(self, name: str, tables: Mapping[str, Any], path: KeyPath) -> Stage | None:
        data = self._required(tables, "data", path)
        facts = data.component.spec.facts if data else None
        component = self._registered("trainer", tables.get("trainer"))
        signature = _signature(component) if component else None
        needs_model = signature is None or "model" in signature.parameters
        model = None
        if "model" in tables or needs_model:
            model = self._required(tables, "model", path, facts=facts, data=data)
        trainer = self._required(tables, "trainer", path)
        groups = {group: self._group(tables, group, path, facts, data) for group in KIND_OF_GROUP}
        budget = component.spec.budget if component else ()
        judging = _on_dev(tables.get("evaluators"), groups)
        self._check_loop(tables.get("trainer"), budget, judging, (*path, "trainer"))
        if not (data and trainer and signature):
            return None
        own = signature.parameters
        options = LoopOptions(**{key: trainer.values[key] for key in options_of("trainer") if key in trainer.values})
        used = ComponentConfig(
            trainer.component, trainer.table, {k: v for k, v in trainer.values.items() if k in own}, trainer.references
        )
        return Stage(name, data, model, used, options, groups["evaluators"], groups["callbacks"])

    def _check_loop(self, table: Any, budget: Sequence[str], judging: Sequence[str], path: KeyPath) -> None:
        """Check what the keys of ``[trainer]`` say together; each by itself is checked elsewhere."""
        if not isinstance(table, dict):
            return
        ends = [*budget, "epochs", "steps", "minutes"]
        if not set(ends) & set(table):
            self.problem(path, f"[{dotted(path)}] has no end; give {', '.join(ends[:-1])} or {ends[-1]}")
        if "patience" in table and not judging:
            message = f"[{dotted(path)}] patience: there are no [evaluators] whose metric could stop growing"
            self.problem((*path, "patience"), message)
        if isinstance(monitor := table.get("monitor"), str):
            parts = monitor.split("/")
            if len(parts) != 3 or parts[0] != "dev" or parts[1] not in judging:
                expected = ", ".join(f"dev/{name}/…" for name in judging)
                expected = f"expected one of {expected}" if expected else "there are no [evaluators]"
                self.problem((*path, "monitor"), f"[{dotted(path)}] monitor = {shown(monitor)}: {expected}")

    def _check_name(self, kind: str, name: str, path: KeyPath) -> None:
        if not NAME.fullmatch(name):
            expected = "letters, digits, '-', '_' and '.', a letter or digit first"
            self.problem(path, f"{shown(name)} is no name for a {kind}; expected {expected}")

    def _group(
        self,
        tables: Mapping[str, Any],
        group: str,
        path: KeyPath,
        facts: tuple[str, ...] | None,
        data: ComponentConfig[Any] | None,
    ) -> dict[str, ComponentConfig[Any]]:
        entries = tables.get(group, {})
        if not isinstance(entries, dict):
            self.problem((*path, group), f"{group} = {shown(entries)}: expected tables such as [{group}.NAME]")
            return {}
        if "use" in entries and not isinstance(entries["use"], dict):
            kind = KIND_OF_GROUP[group]
            self.problem((*path, group, "use"), f"[{group}] use: give each {kind} a name, such as [{group}.mine]")
            return {}
        if group == "callbacks":  # they are told nothing of the data
            facts, data = (), None
        uses = {}
        for name, table in entries.items():
            self._check_name(KIND_OF_GROUP[group], name, (*path, group, name))
            if use := self._use(KIND_OF_GROUP[group], table, (*path, group, name), facts, data):
                uses[name] = use
        return uses

    def _required(
        self,
        tables: Mapping[str, Any],
        key: str,
        path: KeyPath,
        *,
        facts: tuple[str, ...] | None = (),
        data: ComponentConfig[Any] | None = None,
    ) -> ComponentConfig[Any] | None:
        if key not in tables:
            known = ", ".join(sorted(self.registry.components[KIND_OF_TABLE[key]])[:4]) or "none"
            self.problem(path, f'missing table [{dotted((*path, key))}]; expected `use = "…"` (there are {known} …)')
            return None
        return self._use(KIND_OF_TABLE[key], tables[key], (*path, key), facts, data)

    def _registered(self, kind: str, table: Any) -> RegisteredComponent[Any] | None:
        name = table.get("use") if isinstance(table, dict) else None
        return self.registry.find(kind, name) if isinstance(name, str) else None

    def _use(
        self,
        kind: str,
        table: Any,
        path: KeyPath,
        facts: tuple[str, ...] | None,
        data: ComponentConfig[Any] | None,
    ) -> ComponentConfig[Any] | None:
        place = f"[{dotted(path)}]"
        if not isinstance(table, dict):
            self.problem(path, f'{dotted(path)} = {shown(table)}: expected a table with `use = "…"`')
            return None
        if not isinstance(table.get("use"), str):
            found = f"use = {shown(table['use'])}" if "use" in table else "missing key `use`"
            self.problem((*path, "use"), f'{place} {found}: expected the name of a {kind}, such as "namespace.name"')
            return None
        name = table["use"]
        component = self.registry.find(kind, name)
        if component is None:
            reason, plugin = self.registry.why_missing(kind, name)
            self.plugin_missing |= plugin
            self.problem((*path, "use"), f"{place} use = {shown(name)}: {reason}")
            return None
        if missing := component.missing():
            self.plugin_missing = True
            install = f'; install it: pip install "{component.spec.extra}"' if component.spec.extra else ""
            self.problem((*path, "use"), f'{place} use = "{name}" needs {", ".join(missing)}{install}')
        try:
            signature = read_signature(component.spec.target)
        except PluginError as error:
            self.plugin_missing = True
            self.problem((*path, "use"), f"{place} use = {shown(name)} ({component.distribution}): {error}")
            return None
        provided = PROVIDED.get(kind, set())
        own = {key: parameter for key, parameter in signature.parameters.items() if key not in provided}
        own |= options_of(kind)
        given = {key: value for key, value in table.items() if key != "use"}
        values, references = self.parameters(given, own, path, name)
        for parameter in own.values():
            if parameter.required and parameter.name not in given and facts is not None and parameter.name not in facts:
                self._missing(parameter, name, path, data)
        return ComponentConfig(component, place, values, references)

    def _missing(self, parameter: Parameter, name: str, path: KeyPath, data: ComponentConfig[Any] | None) -> None:
        message = f"[{dotted(path)}] missing key `{parameter.name}` of {name}: expected {describe(parameter.kind)}"
        offering = [
            component.name
            for component in self.registry.components["data"].values()
            if parameter.name in component.spec.facts
        ]
        if data and offering:
            message = (
                f"[{dotted(path)}] {name} needs `{parameter.name}`, which data {data.component.name} does not tell "
                f"({', '.join(sorted(offering))} would); give it here or change [data]"
            )
        self.problem(path, message)

    def parameters(
        self, given: Mapping[str, Any], known: Mapping[str, Parameter], path: KeyPath, name: str
    ) -> tuple[dict[str, Any], dict[str, Reference]]:
        """Check the keys of one table; return the values, defaults included, and the references."""
        values = {
            key: self._default(parameter)
            for key, parameter in known.items()
            if not parameter.required and not isinstance(parameter.kind, ModelReference)
        }
        references: dict[str, Reference] = {}
        for key, value in given.items():
            here = (*path, key)
            if key not in known:
                self._unknown(key, known, path, name)
            elif isinstance(known[key].kind, ModelReference):
                if reference := self._reference(value, here):
                    references[key] = reference
            elif known[key].choice:
                values[key] = self._choice(known[key].choice, value, here)
            else:
                values[key] = self._value(value, known[key].kind, here)
        return values, references

    def _default(self, parameter: Parameter) -> Any:
        if parameter.choice and isinstance(parameter.default, dict):
            return self._choice(parameter.choice, parameter.default, ())
        if isinstance(parameter.default, tuple):  # a file that says the same gives a list
            return adapter(parameter.kind).validate_python(list(parameter.default))
        return parameter.default

    def _value(self, value: Any, kind: Any, path: KeyPath) -> Any:
        try:
            checked = adapter(kind).validate_python(value)
        except pydantic.ValidationError as error:
            table, _ = _place(path)
            for inner, message in _mistakes(error, kind, value).items():
                self.problem((*path, *inner), f"{table}{dotted((path[-1], *inner))}{message}")
            return None
        return self._rooted(checked, path)

    def _rooted(self, value: Any, path: KeyPath) -> Any:
        """Make the paths in a value start from the folder of the file that wrote them."""
        if isinstance(value, (list, tuple)):
            return type(value)(self._rooted(part, path) for part in value)
        if not isinstance(value, Path):
            return value
        try:
            return (self.source.origin(path).folder / value.expanduser()).absolute()
        except RuntimeError:
            table, key = _place(path)
            self.problem(path, f"{table}{key} = {shown(str(value))}: there is no such user")
            return None

    def _choice(self, kind: str, value: Any, path: KeyPath) -> Any:
        names = CHOICES[kind]
        table, key = _place(path)
        if not isinstance(value, dict) or not isinstance(value.get("use"), str):
            self.problem(
                path, f'{table}{key} = {shown(value)}: expected a table such as {{ use = "{next(iter(names))}" }}'
            )
            return None
        name = value["use"]
        if name not in names:
            hint = nearest(name, names) or f" There are {', '.join(names)}."
            self.problem((*path, "use"), f"{table}{key} use = {shown(name)}: unknown {kind}.{hint}")
            return None
        known = {key: part for key, part in read_signature(names[name]).parameters.items() if key not in GIVEN}
        given = {key: part for key, part in value.items() if key != "use"}
        values, _ = self.parameters(given, known, path, f"{kind} {name}")
        for parameter in known.values():
            if parameter.required and parameter.name not in given and parameter.name not in TOTAL_STEPS:
                self._missing(parameter, f"{kind} {name}", path, None)
        # torch's own default for a number of steps means epochs; the trainer knows the length of the run.
        unsaid = TOTAL_STEPS - set(given)
        plain = {key: part for key, part in values.items() if key not in unsaid and not isinstance(part, Computed)}
        return {"use": name} | plain

    def _reference(self, value: Any, path: KeyPath) -> Reference | None:
        table, key = _place(path)
        if isinstance(value, dict) and len(value) == 1:
            if isinstance(value.get("stage"), str):
                self.stage_references.append((path, value["stage"]))
                return Reference(stage=value["stage"])
            if isinstance(value.get("run"), str):
                return Reference(run=self._rooted(Path(value["run"]), path))
        self.problem(path, f"{table}{key} = {shown(value)}: expected {describe(ModelReference())}")
        return None

    def _unknown(self, key: str, known: Mapping[str, Parameter], path: KeyPath, name: str) -> None:
        table = f"[{dotted(path)}]"
        if owner := self._owner(key, path):
            self.problem((*path, key), f"`{key}` belongs to {owner}, not to {table}")
            return
        hint = nearest(key, known)
        few = f" It takes {', '.join(known) or 'no keys'}." if not hint and len(known) <= 12 else ""
        self.problem((*path, key), f"{table} {dotted((key,))}: unknown key of {name}.{hint}{few}")

    def _owner(self, key: str, path: KeyPath) -> str:
        """Return where a key that is unknown at `path` would be right: ``[model]``, or an empty text."""
        if path and key in read_signature(SETTINGS).parameters:
            return "the top of the file"
        start = path[:2] if path[:1] == ("stages",) else ()
        tables: Any = self.source.values
        for part in start:
            tables = tables[part]
        for table, kind in KIND_OF_TABLE.items():
            component = self._registered(kind, tables.get(table))
            signature = _signature(component) if component else None
            keys = set(signature.parameters) - PROVIDED.get(kind, set()) if signature else set()
            keys |= set(options_of(kind))
            if key in keys and path != (*start, table):
                return f"[{dotted((*start, table))}]"
        return ""

    def _check_references(self, stages: list[str]) -> None:
        """Check that each ``{ stage = … }`` names an earlier stage, and no stage needs itself."""
        edges: dict[str, list[str]] = {}
        for path, wanted in self.stage_references:
            edges.setdefault(str(path[1]), []).append(wanted)
        for path, wanted in self.stage_references:
            name, place = str(path[1]), "{}{}".format(*_place(path))
            if wanted not in stages:
                self.problem(path, f"{place} = {{ stage = {shown(wanted)} }}: no such stage.{nearest(wanted, stages)}")
            elif ring := _ring(name, wanted, edges):
                self.problem(path, f"{place}: stages wait for each other in a ring: {' → '.join(ring)}")
            elif stages.index(wanted) > stages.index(name):
                self.problem(path, f'{place}: stage "{wanted}" comes later in the file; move it before "{name}"')


def _on_dev(tables: Any, groups: Mapping[str, Mapping[str, ComponentConfig[Any]]]) -> list[str]:
    """Return the names of the evaluators that judge on the dev split; of one with a mistake nobody knows."""
    uses = groups["evaluators"]
    names = tables if isinstance(tables, dict) else {}
    return [name for name in names if name not in uses or "dev" in (uses[name].values["splits"] or ["dev"])]


def options_of(kind: str) -> Mapping[str, Parameter]:
    """Return the keys that the core takes in every table of a kind, beside the component's own."""
    return read_signature(OPTIONS[kind]).parameters if kind in OPTIONS else {}


def _signature(component: RegisteredComponent[Any]) -> Signature | None:
    """Return the signature of a component; None where its plugin is broken, which `_use` reports."""
    try:
        return read_signature(component.spec.target)
    except PluginError:
        return None


def _ring(start: str, wanted: str, edges: Mapping[str, list[str]]) -> list[str]:
    """Return the stages from `start` through `wanted` back to `start`, or nothing."""
    trails = [[start, wanted]]
    seen = set()
    while trails:
        trail = trails.pop()
        if trail[-1] == start:
            return trail
        if trail[-1] not in seen:
            seen.add(trail[-1])
            trails += [[*trail, following] for following in edges.get(trail[-1], [])]
    return []


def _place(path: KeyPath) -> tuple[str, str]:
    """Return the table and the key that a path leads to: ``("[model] ", "dropout")``."""
    table = f"[{dotted(path[:-1])}] " if len(path) > 1 else ""
    return table, dotted(path[-1:])


def _mistakes(error: pydantic.ValidationError, kind: Any, value: Any) -> dict[KeyPath, str]:
    """Say what is wrong in a value, by the place in it: in one of its tables, or all of it."""
    mistakes: dict[KeyPath, str] = {}
    for detail in error.errors():
        inner: KeyPath = ()
        expected, found, message = kind, value, ""
        for part in detail["loc"]:
            keys = table_keys(expected)
            if keys is not None and part not in keys:
                inner = (*inner, part)
                hint = nearest(str(part), keys) or f" It takes {', '.join(keys)}."
                message = f": unknown key.{hint}"
                break
            if keys is not None and part not in found:
                message = f": missing key `{part}`; expected {describe(part_of(expected, part))}"
                break
            if (below := part_of(expected, part)) is None:
                break
            expected, found, inner = below, found[part], (*inner, part)
        mistakes.setdefault(inner, message or f" = {shown(found)}: expected {describe(expected)}")
    return mistakes


@cache
def adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    """Return what checks values of a parameter's type; a type that pydantic cannot check takes anything."""
    try:
        config = None if is_typeddict(kind) else pydantic.ConfigDict(arbitrary_types_allowed=True)
        return pydantic.TypeAdapter(kind, config=config)
    except Exception:  # one of many; the component itself will refuse what it cannot use
        return pydantic.TypeAdapter(Any)
