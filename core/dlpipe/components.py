"""The records that a plugin offers, and names that are nearly right.

A record is data: it names its target as text, so that offering a component costs no import.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar

from dlpipe.errors import PluginError

NAME = re.compile(r"[a-z][a-z0-9_]*")
TARGET = re.compile(r"([A-Za-z_][\w.]*)?:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Component:
    """Something that a pipeline file can ask for with ``use = "<namespace>.<name>"``.

    Args:
        name: lower-case letters, digits and underscores; the plugin's entry point is the namespace.
        target: ``"package.module:Name"`` of a class or function, imported when a run builds it;
            its signature is the schema of the table. ``":Name"`` means the plugin's own module.
        summary: one line for ``dlpipe list``.
        requires: distributions that the target imports and a plain installation may lack.
        extra: what to install to get them, such as ``"dlpipe[text]"``.
    """

    kind: ClassVar[str] = "component"

    name: str
    target: str
    summary: str
    requires: tuple[str, ...] = ()
    extra: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise PluginError(f"{self.kind} name {self.name!r}: expected lower-case letters, digits and _")
        if not TARGET.fullmatch(self.target):
            raise PluginError(f'{self.kind} {self.name!r} has target {self.target!r}: expected "package.module:Name"')


@dataclass(frozen=True)
class Data(Component):
    """What to learn from.

    Args:
        facts: names of what this data tells models and evaluators (``vocab_size``, ``labels`` ...).
        application: ``"package.module:function"``, what ``dlpipe predict RUN`` does where no items are given;
            see `dlpipe.application`.
    """

    kind = "data"
    facts: tuple[str, ...] = ()
    application: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_application(self.kind, self.name, self.application)


@dataclass(frozen=True)
class Model(Component):
    """What learns: a ``torch.nn.Module``.

    Args:
        application: as that of `Data`; a model's own comes first.
    """

    kind = "model"
    application: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_application(self.kind, self.name, self.application)


@dataclass(frozen=True)
class Trainer(Component):
    """How it learns: an iterator of steps over state that it owns.

    Args:
        budget: names of its own parameters that end a run, beside ``epochs``, ``steps`` and ``minutes``.
    """

    kind = "trainer"
    budget: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluator(Component):
    """How it is judged: a model and a split in, numbers and pictures out."""

    kind = "evaluator"


@dataclass(frozen=True)
class Callback(Component):
    """What watches a run that names it."""

    kind = "callback"


@dataclass(frozen=True)
class Command(Component):
    """A subcommand of ``dlpipe``; its target is a ``click.Command``."""

    kind = "command"

    def __post_init__(self) -> None:
        if not TARGET.fullmatch(self.target):
            raise PluginError(f'command {self.name!r} has target {self.target!r}: expected "package.module:Name"')


KINDS: dict[str, type[Component]] = {
    record.kind: record for record in (Data, Model, Trainer, Evaluator, Callback, Command)
}


@dataclass(frozen=True)
class Offer:
    """A component together with who offers it.

    Args:
        namespace: the entry point of the plugin.
        distribution: name and version of what was installed, such as ``"dlpipe 0.1.0"``.
    """

    component: Component
    namespace: str
    distribution: str

    @property
    def name(self) -> str:
        """Full name, as a pipeline file writes it."""
        return f"{self.namespace}.{self.component.name}"

    def missing(self) -> list[str]:
        """Return the distributions that this component requires and that are not installed."""
        return [name for name in self.component.requires if not _installed(name)]


def load_target(target: str) -> Any:
    """Import ``"package.module:Name"`` and return what it names.

    Raises:
        PluginError: the module cannot be imported or has no such name.
    """
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever a plugin's import raises is that plugin's fault
        raise PluginError(f"{target} cannot be imported: {type(error).__name__}: {error}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise PluginError(f"{target} cannot be used: module {module_name} has no {attribute}") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean "x"?`` for the known name that is most like `name`, or an empty text."""
    known = list(known)
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    match = match or [other for other in known if len(name) > 2 and other.startswith(name)]
    return f' Did you mean "{match[0]}"?' if match else ""


def _check_application(kind: str, name: str, target: str) -> None:
    if target and not TARGET.fullmatch(target):
        raise PluginError(f'{kind} {name!r} has application {target!r}: expected "package.module:function"')


def _installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
