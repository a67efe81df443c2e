"""The records that a plugin returns from its hooks.

A record is plain data. It names its target as a string, so that offering a component imports nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib import metadata
from typing import Any, ClassVar, Generic, TypeVar

from dlpipe.errors import PluginError
from dlpipe.registry.installation import install_command

NAME = re.compile(r"[a-z][a-z0-9_]*")
RULE_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TARGET = re.compile(r"([A-Za-z_][\w.]*)?:[A-Za-z_]\w*")


def _is_names(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(isinstance(name, str) for name in value)


def _is_renaming(value: Any) -> bool:
    return isinstance(value, Mapping) and _is_names([*value, *value.values()])


#: By the annotation of a field: whether a value is one, and what is expected.
_FIELD_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (lambda value: isinstance(value, str), "a string"),
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "tuple[str, ...]": (_is_names, 'a tuple of strings, such as ("one",) or ("one", "two")'),
    "Mapping[str, str]": (_is_renaming, 'a dict of former and current names, such as {"old": "new"}'),
}


@dataclass(frozen=True)
class ComponentSpec:
    """Something that a pipeline file can select with ``use = "<namespace>.<name>"``.

    Args:
        name: lower-case letters, digits and underscores; the plugin's entry point is the namespace.
        target: ``"package.module:Name"`` of a class or function. It is imported when a run builds it, and its
            signature is the schema of the table. ``":Name"`` means the module of the plugin itself.
        summary: one line for ``dlpipe list``.
        requires: distributions that the target imports and that may not be installed.
        extra: the extra that installs them, such as ``"dlpipe[text]"``.
        renamed: former names of parameters and their current names; a former name in a pipeline file works, with a
            warning that gives the current one. A dotted name, such as ``"layers.size"``, is a key of a table within
            the table.
        formerly: former names of the component, which work in the same way.
    """

    kind: ClassVar[str] = "component"

    name: str
    target: str
    summary: str
    requires: tuple[str, ...] = ()
    extra: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    formerly: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_types()
        if not NAME.fullmatch(self.name):
            raise PluginError(f"{self.kind} name {self.name!r}: expected lower-case letters, digits and _")
        self._check_target()

    def _check_target(self) -> None:
        if not TARGET.fullmatch(self.target):
            raise PluginError(f'{self.kind} {self.name!r} has target {self.target!r}: expected "package.module:Name"')

    def _check_types(self) -> None:
        """Refuse a field of another type than its annotation: the names in ``requires = "gensim"`` would be letters."""
        for each in fields(self):
            is_one, expected = _FIELD_TYPES[str(each.type)]
            if not is_one(value := getattr(self, each.name)):
                raise PluginError(f"{self.kind} {self.name!r} has {each.name} = {value!r}: expected {expected}")


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
        same_facts: names of facts in which the data of the trained models among its parameters has to agree with its
            own data: ``"labels"`` if they are to predict its classes, ``"pixel_range"``. Another ``vocabulary``, or
            another list of names that both provide, is refused anyway.
    """

    kind = "model"
    application: str = ""
    same_facts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_application(self.kind, self.name, self.application)


@dataclass(frozen=True)
class TrainerSpec(ComponentSpec):
    """How it learns: an iterator of steps over state that it owns.

    Args:
        budget: names of its own parameters that end a run, besides ``epochs``, ``steps`` and ``minutes``.
        finite: it ends by itself (it always has a number of ``total_steps``), so that a pipeline need not say when.
        parallel: the values of the setting ``parallel`` besides "none" that it supports; see docs/parallel.md.
        precision: the values of the setting ``precision`` besides "float32" and "bfloat16" that it supports.
        compile: whether it supports the setting ``compile``: it trains the model by calling it.
        changeable: names of its parameters that may change while a run continues (``dlpipe resume RUN --set …``), such
            as ``("optimizer", "clip_range")``: `load_state_dict` keeps what the constructor got for them. A dotted
            name, such as ``"optimizer.lr"``, is a key of a table. The kind of an optimizer never changes.
        replaces_weights: whether it computes the weights without those that the model has, so that the options
            ``start`` and ``freeze`` of the model are refused.
    """

    kind = "trainer"
    budget: tuple[str, ...] = ()
    finite: bool = False
    parallel: tuple[str, ...] = ()
    precision: tuple[str, ...] = ()
    compile: bool = False
    changeable: tuple[str, ...] = ()
    replaces_weights: bool = False


@dataclass(frozen=True)
class EvaluatorSpec(ComponentSpec):
    """How it is evaluated: takes a model and a split, returns metrics and writes figures.

    Args:
        from_trainer: names of parameters that, when None, get the value of the trainer's parameter of the same name.
        primary_depends_on: names of parameters that say what the primary metric is, such as the loss: values that were
            computed with different ones are not compared.
        baselines: what to compare a trained model with. ``"namespace.name"`` is a model with a method ``fit``, built
            with its defaults and fitted to the training split, then evaluated by this evaluator; one that is not
            installed is left out. A name without a dot is a metric of this evaluator itself: the value of its primary
            metric that a simple predictor reaches, such as a random policy.
        not_on_train: why it cannot judge training examples, as half a sentence, such as "its questions are the same for
            every split"; ``splits = ["train"]`` is refused with it. Empty if it can.
        same_facts: as in `ModelSpec`, for the trained models among its parameters.
    """

    kind = "evaluator"
    from_trainer: tuple[str, ...] = ()
    primary_depends_on: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    not_on_train: str = ""
    same_facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptimizerSpec(ComponentSpec):
    """What a table such as ``optimizer = { use = "mine.lion", lr = 1e-4 }`` selects: a ``torch.optim.Optimizer``.

    Its first argument is the parameters of the model; the others are the keys of the table.
    """

    kind = "optimizer"


@dataclass(frozen=True)
class ScheduleSpec(ComponentSpec):
    """What a table such as ``schedule = { use = "mine.warm" }`` selects: a ``torch.optim.lr_scheduler.LRScheduler``.

    Its first argument is the optimizer. It counts steps; a parameter ``total_steps`` that the table does not give is
    the number of steps of the run.
    """

    kind = "schedule"


@dataclass(frozen=True)
class LossSpec(ComponentSpec):
    """What ``loss = { use = "mine.focal", gamma = 2.0 }`` selects: a class; its arguments are the keys of the table.

    An instance is called with the outputs and the targets, and returns the mean loss, a tensor with one number.
    """

    kind = "loss"


@dataclass(frozen=True)
class CallbackSpec(ComponentSpec):
    """What observes the runs of the pipelines that name it."""

    kind = "callback"


@dataclass(frozen=True)
class CommandSpec(ComponentSpec):
    """A subcommand of ``dlpipe``; its target is a ``click.Command``."""

    kind = "command"

    def __post_init__(self) -> None:
        self._check_types()
        self._check_target()


@dataclass(frozen=True)
class RuleSpec(ComponentSpec):
    """A rule of ``dlpipe coach``; its target is a function that maps a `dlpipe.coach.Case` to its findings.

    Its name has dashes, such as ``"entropy-collapsed"``. The target is imported by ``dlpipe coach`` only.

    Args:
        fallback: ask it only if no other rule has found anything.
    """

    kind = "rule"
    fallback: bool = False

    def __post_init__(self) -> None:
        self._check_types()
        if not RULE_NAME.fullmatch(self.name):
            raise PluginError(f"rule name {self.name!r}: expected lower-case letters, digits and single dashes")
        self._check_target()


KINDS: dict[str, type[ComponentSpec]] = {
    record.kind: record
    for record in (
        DataSpec,
        ModelSpec,
        TrainerSpec,
        EvaluatorSpec,
        OptimizerSpec,
        ScheduleSpec,
        LossSpec,
        CallbackSpec,
        CommandSpec,
        RuleSpec,
    )
}
#: The kinds of components that a pipeline file can name.
SELECTABLE = [kind for kind in KINDS if kind not in ("command", "rule")]

#: How a message refers to a component of a kind; other kinds are "a model", "a trainer" and so on.
_NOUNS = {"data": "a data component", "evaluator": "an evaluator", "optimizer": "an optimizer"}

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
        """Full name, as in a pipeline file."""
        return f"{self.namespace}.{self.spec.name}"

    @property
    def key(self) -> str:
        """What it is called: commands, and the rules of dlpipe itself, have no namespace."""
        is_bare = self.spec.kind == "command" or (self.spec.kind == "rule" and self.namespace == "core")
        return self.spec.name if is_bare else self.name

    def missing(self) -> list[str]:
        """Return the distributions that this component requires and that are not installed."""
        return [name for name in self.spec.requires if not _installed(name)]

    def install_command(self) -> str:
        """Return the command that installs what is missing; an empty string if the component names no extra."""
        return install_command(self.spec.extra) if self.spec.extra else ""

    def former_names(self) -> list[str]:
        """Return the former full names."""
        return [name if "." in name else f"{self.namespace}.{name}" for name in self.spec.formerly]


def a_kind(kind: str) -> str:
    """Return how a message refers to a component of a kind: ``a model``, ``an evaluator``, ``a data component``."""
    return _NOUNS.get(kind, f"a {kind}")


def _check_application(kind: str, name: str, target: str) -> None:
    if target and not TARGET.fullmatch(target):
        raise PluginError(f'{kind} {name!r} has application {target!r}: expected "package.module:function"')


def _installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
