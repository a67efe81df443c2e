"""The tables of a pipeline file, and which keys each of them takes. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlpipe.config.settings import RENAMED, EvaluatorOptions, LoopOptions, ModelOptions, Settings
from dlpipe.config.signatures import Parameter, read_signature
from dlpipe.config.torch_names import CHOICES, provided_by_trainer
from dlpipe.errors import InputError, PluginError
from dlpipe.messages import nearest
from dlpipe.registry.specs import ComponentSpec, RegisteredComponent

SETTINGS = f"{Settings.__module__}:{Settings.__qualname__}"
#: Options of the core that every table of a kind takes, in addition to the parameters of its component.
OPTIONS = {
    "model": f"{ModelOptions.__module__}:{ModelOptions.__qualname__}",
    "trainer": f"{LoopOptions.__module__}:{LoopOptions.__qualname__}",
    "evaluator": f"{EvaluatorOptions.__module__}:{EvaluatorOptions.__qualname__}",
}
TABLES = ("data", "model", "trainer", "evaluators", "callbacks")
#: Read by `dlpipe sweep` only; see `dlpipe.sweep.plan`.
SWEEP = "sweep"
KIND_OF_TABLE = {"data": "data", "model": "model", "trainer": "trainer"}
KIND_OF_GROUP = {"evaluators": "evaluator", "callbacks": "callback"}
#: Arguments that the core passes to a component whose signature names them. They are not keys of its table.
PROVIDED = {
    "data": {"offline"},
    "trainer": {"model", "data", "compute", "seed", "budget"},
    "callback": {"offline"},
    "optimizer": set(provided_by_trainer("optimizer", "")),
    "schedule": set(provided_by_trainer("schedule", "")),
}
#: Kinds whose required parameters may come from the facts of the data.
TAKES_FACTS = ("model", "evaluator")


def options_of(kind: str) -> Mapping[str, Parameter]:
    """Return the options of the core that every table of a kind takes."""
    return read_signature(OPTIONS[kind]).parameters if kind in OPTIONS else {}


def keys_of(spec: ComponentSpec) -> dict[str, Parameter]:
    """Return the keys that the table of a component takes: its own parameters and the options of the core.

    Raises:
        PluginError: the component has no signature that could be read, or a parameter with the name of an option.
    """
    provided, options = PROVIDED.get(spec.kind, set()), options_of(spec.kind)
    own = {
        name: parameter for name, parameter in read_signature(spec.target).parameters.items() if name not in provided
    }
    if both := [name for name in own if name in options]:
        raise PluginError(
            f"{spec.target} has a parameter {both[0]}, which is an option of dlpipe in the table of every {spec.kind}; "
            "rename the parameter"
        )
    return own | dict(options)


def renamed_keys(spec: ComponentSpec) -> dict[str, str]:
    """Return former keys of the table of a component and their current names."""
    return {**RENAMED.get(spec.kind, {}), **spec.renamed}


def choice_keys(choice: str, name: str, target: str = "") -> dict[str, Parameter]:
    """Return the keys that a table such as ``optimizer = { use = "adam" }`` takes besides ``use``.

    Args:
        target: of an optimizer, schedule or loss of a plugin.
    """
    provided = provided_by_trainer(choice, name)
    target = target or CHOICES[choice][name]
    parameters = read_signature(target).parameters if target else {}
    return {key: parameter for key, parameter in parameters.items() if key not in provided}


class Selected(dict[str, Any]):
    """A checked table that selects an optimizer, a schedule or a loss of a plugin.

    Attributes:
        component: what it selects.
    """

    def __init__(self, values: Mapping[str, Any], component: RegisteredComponent[Any]) -> None:
        super().__init__(values)
        self.component = component


def target_of(choice: str, table: Mapping[str, Any]) -> str:
    """Return the target of what a table selects.

    Raises:
        InputError: it is not known: the name of a plugin's in a table that no pipeline file gave.
    """
    if isinstance(table, Selected):
        return str(table.component.spec.target)
    name = table["use"]
    if name not in CHOICES[choice]:
        hint = nearest(name, CHOICES[choice])
        raise InputError(f"{choice} {name}: expected a name of torch, or a table of a checked pipeline.{hint}")
    return CHOICES[choice][name]
