"""Checking the keys of one table against the signature of the component that it selects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydantic

from dlpipe.config.defaults import Computed
from dlpipe.config.pipeline import Reference, References, Start
from dlpipe.config.renames import use_current_names
from dlpipe.config.report import Report, key_at, table_at
from dlpipe.config.signatures import ANNOTATE, Parameter
from dlpipe.config.source import SET, Origin, dotted
from dlpipe.config.tables import Selected, choice_keys
from dlpipe.config.toml_lines import KeyPath
from dlpipe.config.torch_names import CHOICES, TOTAL_STEPS, provided_by_trainer
from dlpipe.config.values import adapter, as_given, mistakes, refused_default
from dlpipe.fields import CHOSEN, ModelReference, describe, table_keys
from dlpipe.messages import nearest, shown
from dlpipe.registry.loading import Registry
from dlpipe.registry.specs import RegisteredComponent

#: A message lists all keys of a table if there are at most this many.
MAX_LISTED = 12
#: A message names at most this many optimizers or schedules that take a key.
MAX_TAKERS = 3
#: Other words for keys, from libraries that people know; those that are spelled alike are found without.
SYNONYMS = {
    "learning_rate": "lr",
    "early_stopping": "patience",
    "clip_norm": "max_grad_norm",
    "gradient_clip_val": "max_grad_norm",
    "hidden_size": "hidden_dim",
    "embedding_size": "embed_dim",
}
#: Where a model can get its first weights from.
STARTS = ("run", "stage", "file", "url")


@dataclass(frozen=True)
class TableChecker:
    """Checks the keys of one table.

    Args:
        path: of the table in the file; () for the top of the file.
        selected: what the keys belong to, such as ``text.rnn_tagger`` or ``optimizer adam``.
        known: the keys that the table takes.
        registry: what plugins offer.
        owners: other places of the file (``[trainer]``) and the keys that belong there.
        choice: "optimizer", "schedule" or "loss" if the table selects one.
    """

    report: Report
    registry: Registry
    path: KeyPath
    selected: str
    known: Mapping[str, Parameter]
    owners: Sequence[tuple[str, Iterable[str]]]
    choice: str = ""

    def check(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, References]]:
        """Check all keys; return the values, defaults included, and the references to trained models."""
        values = {
            key: self._default(parameter)
            for key, parameter in self.known.items()
            if key not in given and not parameter.required and not isinstance(parameter.kind, ModelReference)
        }
        references: dict[str, References] = {}
        for key, value in given.items():
            path = (*self.path, key)
            if key not in self.known:
                self.unknown(key, given)
            elif isinstance(kind := self.known[key].kind, ModelReference):
                if found := self._references(value, path) if kind.many else self._reference(value, path):
                    references[key] = found
            elif choice := self.known[key].choice:
                values[key] = self._choice(choice, _with_default(value, self.known[key].default), path)
            elif reason := self.known[key].unchecked:
                values[key] = value
                self.report.warn(
                    path, f"{key_at(path)} = {shown(value)} is not checked, since {self.selected} {reason}; {ANNOTATE}"
                )
            else:
                values[key] = self._value(value, self.known[key].kind, path)
        models = {
            key: references.get(key) for key, known in self.known.items() if isinstance(known.kind, ModelReference)
        }
        self._check_relations(given, values | models)
        return values, references

    def _check_relations(self, given: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Report values that the other values make ineffective; defaults are accepted: `resolved.toml` has them all."""
        plain = {key: value for key, value in values.items() if not isinstance(value, Computed)}
        for key in given:
            parameter = self.known.get(key)
            if parameter is None or not parameter.relations or key not in plain:
                continue
            if plain[key] in (None, self._default(parameter)):
                continue
            for relation in parameter.relations:
                if reason := relation.violation(plain):
                    path = (*self.path, key)
                    self.report.add(path, f"{key_at(path)} = {shown(given[key])} {reason}")

    def missing(self, given: Mapping[str, Any]) -> list[Parameter]:
        """Return the required parameters that are not given."""
        return [parameter for name, parameter in self.known.items() if parameter.required and name not in given]

    def report_missing(self, parameter: Parameter) -> None:
        """Report a required key that is not given."""
        expected = describe(parameter.kind)
        self.report.add(
            self.path, f"{table_at(self.path)} missing key `{parameter.name}` of {self.selected}: expected {expected}"
        )

    def unknown(self, key: str, given: Mapping[str, Any]) -> None:
        """Report a key that the table does not take, with the next step.

        Args:
            given: the table.
        """
        path = (*self.path, key)
        hint = self._nested(key, given)
        if not hint and (owner := self.owner(key)):
            renamed = "" if owner[1] == key else f", where it is called {owner[1]}"
            self.report.add(path, f"`{key}` belongs to {owner[0]}, not to {table_at(self.path)}{renamed}")
            return
        hint = nearest(SYNONYMS.get(key, key), self.known) or hint
        if not hint and self.choice and (takers := _takers(self.choice, key)):
            hint = f" It is a parameter of {self.choice} {_some(takers)}."
        if not hint and len(self.known) <= MAX_LISTED:
            hint = f" It takes {', '.join(self.known) or 'no keys'}."
        elif not hint and not self.choice and self.path:
            hint = f" `dlpipe show {self.selected}` lists its keys."
        self.report.add(path, f"{key_at(path)}: unknown key of {self.selected}.{hint}")

    def owner(self, key: str) -> tuple[str, str] | None:
        """Return another place of the file to which a key belongs, and its name there."""
        here = table_at(self.path)
        names = (key, SYNONYMS.get(key, key))
        return next(
            ((place, name) for name in names for place, keys in self.owners if name in keys and place != here), None
        )

    def _nested(self, key: str, given: Mapping[str, Any]) -> str:
        """Return a sentence that says where a key belongs that an inner table takes: ``optimizer`` or ``augment``."""
        for name, parameter in self.known.items():
            if key in (table_keys(parameter.kind) or {}):
                return f" It is a key of {name}: set {dotted((*self.path, name, key))} = {shown(given[key])}."
            if not (choice := parameter.choice) or choice == "loss":
                continue
            table = _with_default(given.get(name, parameter.default), parameter.default)
            chosen = table.get("use") if isinstance(table, dict) else None
            inner = SYNONYMS.get(key, key)
            takers = _takers(choice, inner)
            value = shown(given[key])
            if chosen in takers:
                path = dotted((*self.path, name, inner))
                return f" It is a parameter of {choice} {chosen}: set {path} = {value}."
            if takers:
                not_of = f", not of {chosen}" if chosen else ""
                return (
                    f" It is a parameter of {choice} {_some(takers)}{not_of}: "
                    f'set {dotted((*self.path, name))} = {{ use = "{takers[0]}", {inner} = {value} }}.'
                )
        return ""

    def _default(self, parameter: Parameter) -> Any:
        default = parameter.default
        if problem := refused_default(parameter):
            message = f"{table_at(self.path)} {self.selected} {problem}. Give a value, or correct the component"
            self.report.add(self.path, message, plugin=True)
            return None
        if parameter.choice and default is not None:
            return self._choice(parameter.choice, default, (*self.path, parameter.name))
        if isinstance(default, (tuple, int)):  # torch writes 0 for a float
            default = adapter(parameter.kind).validate_python(as_given(default))
        return self._absolute(default, Origin(SET).folder)

    def _value(self, value: Any, kind: Any, path: KeyPath) -> Any:
        try:
            checked = adapter(kind).validate_python(value)
        except pydantic.ValidationError as error:
            for inner, message in mistakes(error, kind, value).items():
                self.report.add((*path, *inner), f"{key_at(path, *inner)}{message}")
            return None
        try:
            return self._absolute(checked, self.report.source.origin(path).folder)
        except RuntimeError:
            self.report.add(path, f"{key_at(path)} = {shown(str(value))}: no such user")
        except ValueError as error:  # a NUL in the path
            self.report.add(path, f"{key_at(path)} = {shown(str(value))}: {error}")
        return None

    def _absolute(self, value: Any, folder: Path) -> Any:
        """Make the paths in a value absolute; relative ones start from the folder of the file that gave them."""
        if isinstance(value, (list, tuple)):
            return type(value)(self._absolute(part, folder) for part in value)
        if isinstance(value, dict):
            return {key: self._absolute(part, folder) for key, part in value.items()}
        return _without_parents((folder / value.expanduser()).absolute()) if isinstance(value, Path) else value

    def _choice(self, choice: str, value: Any, path: KeyPath) -> Any:
        """Check a table that selects an optimizer, a schedule or a loss by name."""
        names = CHOICES[choice]
        if choice == "loss" and isinstance(value, str):
            value = {"use": value}
        if not isinstance(value, dict) or not isinstance(value.get("use"), str):
            hint = _missing_use(choice, value, path) if isinstance(value, dict) and "use" not in value else ""
            self.report.add(path, f"{key_at(path)} = {shown(value)}: expected {CHOSEN[choice]}{hint}")
            return None
        name = value["use"]
        component = None if name in names else self._chosen(choice, name, path)
        if name not in names and component is None:
            return None
        if component:
            known = choice_keys(choice, name, component.spec.target)
            use_current_names(self.report, path, known, component.spec.renamed)
        else:
            known = choice_keys(choice, name)
        given = {key: part for key, part in value.items() if key != "use"}
        for key, reason in provided_by_trainer(choice, name).items():
            if key in given:
                self.report.add((*path, key), f"{key_at((*path, key))} = {shown(given.pop(key))}: {reason}")
        inner = replace(self, path=path, selected=f"{choice} {name}", known=known, choice=choice)
        values, _ = inner.check(given)
        for parameter in inner.missing(given):
            if parameter.name not in TOTAL_STEPS:
                inner.report_missing(parameter)
        # torch counts epochs in its own default for a number of steps; the trainer knows the length of the run.
        omitted = TOTAL_STEPS - set(given)
        plain = {key: part for key, part in values.items() if key not in omitted and not isinstance(part, Computed)}
        if component:
            return Selected({"use": component.name} | plain, component)
        return name if choice == "loss" and not names[name] else {"use": name} | plain

    def _chosen(self, choice: str, name: str, path: KeyPath) -> RegisteredComponent[Any] | None:
        """Return the optimizer, schedule or loss of a plugin, or report why there is none."""
        place = (*path, "use") if (*path, "use") in self.report.source.origins else path
        use = f"{key_at(path)} use = {shown(name)}"
        component, offered = self.registry.find(choice, name), self.registry.components[choice]
        if component is None:
            reason, plugin = f"unknown {choice}.{nearest(name, [*CHOICES[choice], *offered])}", False
            if "." in name:
                reason, plugin = self.registry.why_missing(choice, name)
            elif reason.endswith("."):
                reason += f" There are {', '.join([*CHOICES[choice], *offered])}."
            self.report.add(place, f"{use}: {reason}", plugin=plugin)
            return None
        if component.name != name:
            self.report.warn(
                place, f'{key_at(path)} use = {shown(name)} was renamed to "{component.name}"; use the new name'
            )
        if missing := component.missing():
            install = f"; install with: {component.install_command()}" if component.spec.extra else ""
            self.report.add(
                place, f"{key_at(path)} use = {shown(name)} needs {', '.join(missing)}{install}", plugin=True
            )
        return component

    def start(self, table: Mapping[str, Any]) -> Start | None:
        """Return what a checked table ``start`` of a model stands for, or report why it stands for nothing."""
        path = (*self.path, "start")
        place, sources = key_at(path), [key for key in STARTS if key in table]
        if len(sources) != 1:
            found = " and ".join(sources) or "none of them"
            self.report.add(path, f"{place}: expected exactly one of {', '.join(STARTS)}, found {found}")
        elif ("url" in table) != ("sha256" in table):
            lacking, other = ("sha256", "url") if "url" in table else ("url", "sha256")
            self.report.add(path, f"{place}: {other} needs {lacking}; a download is checked by its sha256")
        else:
            if "stage" in table:
                self.report.stage_references.append((path, table["stage"]))
            known = dict(table) | {"skip": tuple(table.get("skip", ()))}
            # Links are followed now: `latest` may be another run when this one is resumed.
            return Start(**known | ({"run": Path(os.path.realpath(table["run"]))} if "run" in table else {}))
        return None

    def _references(self, value: Any, path: KeyPath) -> tuple[Reference, ...]:
        if not isinstance(value, list) or not value:
            expected = describe(ModelReference(many=True))
            self.report.add(path, f"{key_at(path)} = {shown(value)}: expected {expected}")
            return ()
        found = [self._reference(part, (*path, place)) for place, part in enumerate(value)]
        return tuple(reference for reference in found if reference)

    def _reference(self, value: Any, path: KeyPath) -> Reference | None:
        if isinstance(value, dict) and len(value) == 1:
            if isinstance(value.get("stage"), str):
                self.report.stage_references.append((path, value["stage"]))
                return Reference(stage=value["stage"])
            if isinstance(value.get("run"), str):
                return self._run(value["run"], path)
        self.report.add(path, f"{key_at(path)} = {shown(value)}: expected {describe(ModelReference())}")
        return None

    def _run(self, folder: str, path: KeyPath) -> Reference | None:
        run = self._value(folder, Path, path)
        # Links are followed now: `latest` may be another run when this one is resumed.
        return None if run is None else Reference(run=Path(os.path.realpath(run)))


def inner_owners(known: Mapping[str, Parameter], given: Any, path: KeyPath) -> list[tuple[str, Iterable[str]]]:
    """Return the optimizers and schedules that a table selects: their places in the file, and their keys."""
    owners: list[tuple[str, Iterable[str]]] = []
    for name, parameter in known.items():
        choice = parameter.choice
        table = _with_default(
            given.get(name, parameter.default) if isinstance(given, dict) else None, parameter.default
        )
        chosen = table.get("use") if isinstance(table, Mapping) else None
        if choice and chosen in CHOICES[choice]:
            owners.append((table_at((*path, name)), choice_keys(choice, chosen)))
    return owners


def _without_parents(path: Path) -> Path:
    """Return an absolute path without ``..``, so that a file has one name from whatever folder it is named.

    Links before a ``..`` are followed, as the system does; the others stay, so that they can lead elsewhere later.
    """
    if ".." not in path.parts:
        return path
    end = len(path.parts) - path.parts[::-1].index("..")
    return Path(os.path.realpath(Path(*path.parts[:end])), *path.parts[end:])


def _takers(choice: str, key: str) -> list[str]:
    """Return the optimizers, schedules or losses that have a parameter."""
    return [each for each in CHOICES[choice] if key in choice_keys(choice, each)]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_TAKERS]) + (" …" if len(names) > MAX_TAKERS else "")


def _missing_use(choice: str, table: Mapping[str, Any], path: KeyPath) -> str:
    """Return which optimizers, schedules or losses a table without ``use`` may mean, as the end of a sentence."""
    takers = [each for each in CHOICES[choice] if table and all(each in _takers(choice, key) for key in table)]
    if not takers:
        return ""
    use = f'{dotted((*path, "use"))} = "{takers[0]}"'
    return f". {' and '.join(table)} fits {choice} {_some(takers)}: also set {use}"


def _with_default(value: Any, default: Any) -> Any:
    """Return a table that names no optimizer or schedule as the default one with the values that it gives."""
    if isinstance(value, dict) and value and "use" not in value and isinstance(default, Mapping):
        return {**default, **value}
    return value
