"""The records that a plugin returns from its hooks.

A record is data: it names its target as a string, so offering a component imports nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import ClassVar, Generic, TypeVar

from dlpipe.errors import PluginError

NAME = re.compile(r"[a-z][a-z0-9_]*")
TARGET = re.compile(r"([A-Za-z_][\w.]*)?:[A-Za-z_]\w*")


@dataclass(frozen=True)
class ComponentSpec:
    """Something that a pipeline file can select with ``use = "<namespace>.<name>"``.

    Args:
        name: lower-case letters, digits and underscores; the plugin's entry point is the namespace.
        target: ``"package.module:Name"`` of a class or function, imported when a run builds it;
            its signature is the schema of the table. ``":Name"`` means the plugin's own module.
        summary: one line for ``dlpipe list``.
        requires: distributions that the target imports and a plain installation may lack.
        extra: the extra that installs them, such as ``"dlpipe[text]"``.
        renamed: former names of parameters and their current names; a pipeline file with a former name gets
            an error that gives the current one.
    """

    kind: ClassVar[str] = "component"

    name: str
    target: str
    summary: str
    requires: tuple[str, ...] = ()
    extra: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise PluginError(f"{self.kind} name {self.name!r}: expected lower-case letters, digits and _")
        if not TARGET.fullmatch(self.target):
            raise PluginError(f'{self.kind} {self.name!r} has target {self.target!r}: expected "package.module:Name"')


@dataclass(frozen=True)
class DataSpec(ComponentSpec):
    """What to learn from.

    Args:
        facts: names of the facts that this data provides to models and evaluators (``vocab_size``, ``labels`` ...).
        application: ``"package.module:function"``, what ``dlpipe predict RUN`` does when no items are given;
            see `dlpipe.config.application`.
    """

    kind = "data"
    facts: tuple[str, ...] = ()
    application: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_application(self.kind, self.name, self.application)


@dataclass(frozen=True)
class ModelSpec(ComponentSpec):
    """What learns: a ``torch.nn.Module``.

    Args:
        application: as in `DataSpec`; takes precedence over that of the data.
    """

    kind = "model"
    application: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_application(self.kind, self.name, self.application)


@dataclass(frozen=True)
class TrainerSpec(ComponentSpec):
    """How it learns: an iterator of steps over state that it owns.

    Args:
        budget: names of its own parameters that end a run, besides ``epochs``, ``steps`` and ``minutes``.
    """

    kind = "trainer"
    budget: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluatorSpec(ComponentSpec):
    """How it is judged: takes a model and a split, returns metrics and writes figures."""

    kind = "evaluator"


@dataclass(frozen=True)
class CallbackSpec(ComponentSpec):
    """What observes the runs of the pipelines that name it."""

    kind = "callback"


@dataclass(frozen=True)
class CommandSpec(ComponentSpec):
    """A subcommand of ``dlpipe``; its target is a ``click.Command``."""

    kind = "command"

    def __post_init__(self) -> None:
        if not TARGET.fullmatch(self.target):
            raise PluginError(f'command {self.name!r} has target {self.target!r}: expected "package.module:Name"')


KINDS: dict[str, type[ComponentSpec]] = {
    record.kind: record for record in (DataSpec, ModelSpec, TrainerSpec, EvaluatorSpec, CallbackSpec, CommandSpec)
}

SpecT = TypeVar("SpecT", bound=ComponentSpec, covariant=True)


@dataclass(frozen=True)
class RegisteredComponent(Generic[SpecT]):
    """A component together with the plugin that offers it.

    Args:
        namespace: the entry point of the plugin.
        distribution: name and version of the installed distribution, such as ``"dlpipe 0.1.0"``.
    """

    spec: SpecT
    namespace: str
    distribution: str

    @property
    def name(self) -> str:
        """Full name, as a pipeline file writes it."""
        return f"{self.namespace}.{self.spec.name}"

    def missing(self) -> list[str]:
        """Return the distributions that this component requires and that are not installed."""
        return [name for name in self.spec.requires if not _installed(name)]


def _check_application(kind: str, name: str, target: str) -> None:
    if target and not TARGET.fullmatch(target):
        raise PluginError(f'{kind} {name!r} has application {target!r}: expected "package.module:function"')


def _installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
