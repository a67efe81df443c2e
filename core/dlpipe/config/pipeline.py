"""A checked pipeline: every name is a component, every value is valid, and all defaults are filled in."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from dlpipe.config.settings import LoopOptions, Settings
from dlpipe.config.source import Origin, Source, dotted
from dlpipe.config.toml_lines import KeyPath
from dlpipe.errors import InputError
from dlpipe.messages import nearest, shown
from dlpipe.registry.specs import (
    CallbackSpec,
    DataSpec,
    EvaluatorSpec,
    ModelSpec,
    RegisteredComponent,
    SpecT,
    TrainerSpec,
)

_TOML_TYPES = (str, int, float, bool, datetime.date, datetime.time)  # a datetime is a date


@dataclass(frozen=True)
class Reference:
    """A trained model, of an earlier stage or of a finished run; exactly one of the two is given."""

    stage: str = ""
    run: Path | None = None

    def __str__(self) -> str:
        return f"stage {self.stage}" if self.run is None else f"run {self.run}"

    def plain(self) -> dict[str, Any]:
        """Return it as a table that TOML can hold."""
        return {"stage": self.stage} if self.run is None else {"run": str(self.run)}


@dataclass(frozen=True)
class Start(Reference):
    """The weights that a model starts from: those of a trained model or, instead of one, of a file.

    Args:
        file: with weights by name.
        url: of such a file; empty if there is none to download.
        sha256: hex digest of the file at `url`.
        skip: parts of the model, by name, that do not start from these weights.
    """

    file: Path | None = None
    url: str = ""
    sha256: str = ""
    skip: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"file {self.file}" if self.file else self.url or super().__str__()

    def plain(self) -> dict[str, Any]:
        """Return it as a table that TOML can hold."""
        skip = {"skip": list(self.skip)} if self.skip else {}
        if self.url:
            return {"url": self.url, "sha256": self.sha256} | skip
        return ({"file": str(self.file)} if self.file else super().plain()) | skip


#: The value of a parameter that is a trained model, or a list of them.
References = Reference | tuple[Reference, ...]


def each_of(references: References) -> tuple[Reference, ...]:
    """Return the trained models that a parameter names."""
    return (references,) if isinstance(references, Reference) else references


@dataclass(frozen=True)
class ComponentConfig(Generic[SpecT]):
    """A component and the values of its parameters.

    Args:
        table: its table in the file, such as ``[evaluators.slots]``.
        values: all parameters that have plain values, from the file or by default.
        references: parameters that are trained models, or lists of them, and what the model starts from.
    """

    component: RegisteredComponent[SpecT]
    table: str
    values: dict[str, Any]
    references: dict[str, References]

    def plain(self) -> dict[str, Any]:
        """Return the table, with all defaults, as values that TOML can hold."""
        plain = {"use": self.component.name} | {key: as_toml(value) for key, value in self.values.items()}
        for key, named in self.references.items():
            plain[key] = named.plain() if isinstance(named, Reference) else [each.plain() for each in named]
        return {key: value for key, value in plain.items() if value is not None}


@dataclass(frozen=True)
class Stage:
    """The data, the model and the trainer of one stage, its evaluators and callbacks, and the options of its loop.

    Args:
        baselines: the models that each evaluator compares others with, as far as they are installed.
    """

    name: str
    data: ComponentConfig[DataSpec]
    model: ComponentConfig[ModelSpec] | None
    trainer: ComponentConfig[TrainerSpec]
    options: LoopOptions
    evaluators: dict[str, ComponentConfig[EvaluatorSpec]]
    callbacks: dict[str, ComponentConfig[CallbackSpec]]
    baselines: Mapping[str, tuple[RegisteredComponent[ModelSpec], ...]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the tables of the stage as values that TOML can hold."""
        options = {key: value for key, value in vars(self.options).items() if value is not None}
        tables: dict[str, Any] = {"data": self.data.plain()}
        if self.model:
            tables["model"] = self.model.plain()
        tables["trainer"] = self.trainer.plain() | options
        for group, uses in (("evaluators", self.evaluators), ("callbacks", self.callbacks)):
            if uses:
                tables[group] = {name: use.plain() for name, use in uses.items()}
        return tables

    def from_trainer(self, evaluator: str) -> dict[str, Any]:
        """Return the values that an evaluator takes from the trainer, since its own table has none."""
        config, values = self.evaluators[evaluator], self.trainer.values
        names = config.component.spec.from_trainer
        return {name: values[name] for name in names if name in values and config.values.get(name) is None}

    def primary_depends_on(self, evaluator: str) -> dict[str, Any]:
        """Return the values, as TOML can hold them, without which the primary metric of an evaluator has no meaning."""
        config = self.evaluators[evaluator]
        values = config.values | self.from_trainer(evaluator)
        names = config.component.spec.primary_depends_on
        return {name: as_toml(values[name]) for name in names if values.get(name) is not None}

    def references(self) -> Iterator[Reference]:
        """Yield the trained models that this stage starts from."""
        for use in (self.data, self.model, self.trainer, *self.evaluators.values()):
            for named in use.references.values() if use else ():
                yield from each_of(named)


@dataclass(frozen=True)
class Pipeline:
    """A checked pipeline.

    Args:
        stages: by name; a file without ``[stages]`` has one stage, named ``""``.
        source: the content of the files and the command line.
        local_plugins: Python files that the pipeline names in ``plugins``.
        warnings: what works, but should be changed in the file; each with its place.
    """

    settings: Settings
    stages: dict[str, Stage]
    source: Source
    local_plugins: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return the whole pipeline, with all defaults, as values that TOML can hold."""
        top = self.settings.plain()
        if self.local_plugins:
            top["plugins"] = [f"./{path.name}" for path in self.local_plugins]
        if "" in self.stages:
            return top | self.stages[""].plain()
        return top | {"stages": {name: stage.plain() for name, stage in self.stages.items()}}

    def stage(self, name: str | None = None) -> Stage:
        """Return a stage by its name, the last one if none is given.

        Raises:
            InputError: there is no such stage.
        """
        names = list(self.stages)
        name = names[-1] if name is None else name
        if name not in names:
            known = ", ".join(names) if names != [""] else "only one, without a name"
            raise InputError(f"{self.settings.name} has no stage {name!r}; it has {known}.{nearest(name, names)}")
        return self.stages[name]

    def origin(self, path: KeyPath) -> Origin | None:
        """Return what set the value at `path`, or None for a default."""
        return self.source.origins.get(path)


def different_meanings(metric: str, meanings: Iterable[Mapping[str, Any]]) -> str:
    """Say in what those differ that several runs have for `Stage.primary_depends_on`; an empty string if in nothing.

    Args:
        metric: such as "dev/loss/loss".
    """
    several = list(meanings)
    for name in dict.fromkeys(name for meaning in several for name in meaning):
        values = dict.fromkeys(shown(meaning.get(name, "auto")) for meaning in several)
        if len(values) > 1:
            return (
                f"{metric} is not the same everywhere, as {name} is {' or '.join(values)}; to compare by it, set "
                f"{dotted(('evaluators', metric.split('/')[1], name))}"
            )
    return ""


def table_name(stage: str, *keys: str) -> str:
    """Return how a message refers to a table of a stage: ``[trainer]``, or ``[stages.pretrain.trainer]``."""
    return f"[{dotted((*(('stages', stage) if stage else ()), *keys))}]"


def as_toml(value: Any) -> Any:
    """Return a value as TOML can hold it, or None if it cannot."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: as_toml(part) for key, part in value.items() if as_toml(part) is not None}
    if isinstance(value, (list, tuple)):
        parts = [as_toml(part) for part in value]
        return None if None in parts else parts
    return value if isinstance(value, _TOML_TYPES) else None
