"""What there is to choose from: the components of the installed plugins, and the pipelines that come with dlpipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlpipe.config.defaults import Computed
from dlpipe.config.pipeline import Pipeline
from dlpipe.config.shipped import shipped_pipelines, summary_of
from dlpipe.config.signatures import Parameter, read_signature
from dlpipe.config.source import dotted, leaves
from dlpipe.config.tables import PROVIDED, TAKES_FACTS, choice_keys, options_of
from dlpipe.config.torch_names import CHOICES
from dlpipe.fields import describe
from dlpipe.messages import relative
from dlpipe.registry.loading import Registry
from dlpipe.registry.specs import SELECTABLE, EvaluatorSpec, RegisteredComponent

#: The kinds that are listed: those that a pipeline file can name, and the rules of ``dlpipe coach``.
LISTED = [*SELECTABLE, "rule"]


def components_of(registry: Registry, kind: str) -> list[dict[str, Any]]:
    """Return the rows of a kind: those without a namespace first (the optimizers of torch), then those of plugins."""
    built_in = [
        {"name": name, "summary": target.replace(":", "."), "distribution": "", "needs": [], "install": ""}
        for name, target in CHOICES.get(kind, {}).items()
    ]
    offered = [
        {
            "name": component.key,
            "summary": component.spec.summary,
            "distribution": component.distribution,
            "needs": component.missing(),
            "install": component.install_command() if component.missing() else "",
        }
        for _, component in sorted(registry.components[kind].items())
    ]
    return built_in + offered


def pipelines() -> list[dict[str, Any]]:
    """Return the pipelines that come with dlpipe."""
    return [
        {"name": name, "summary": summary_of(file), "file": relative(file)}
        for name, file in shipped_pipelines().items()
    ]


def find_component(registry: Registry, name: str) -> RegisteredComponent[Any] | None:
    """Return the component with a full name, current or former, whatever its kind; None if there is none."""
    return next(filter(None, (registry.find(kind, name) for kind in SELECTABLE)), None)


def description_of(registered: RegisteredComponent[Any]) -> dict[str, Any]:
    """Return what a pipeline file can say of a component.

    Returns:
        ``name``, ``kind``, ``summary``; ``needs``, the names of what dlpipe or the data provide; ``parameters``, each
        with its ``name``, what it ``expects``, whether it is ``required``, its ``default`` and a ``text``.
    """
    component = registered.spec
    known = {**read_signature(component.target).parameters, **options_of(component.kind)}
    provided = PROVIDED.get(component.kind, set())
    if component.kind in TAKES_FACTS:
        provided = {name for name, parameter in known.items() if parameter.required}
    if isinstance(component, EvaluatorSpec) and not component.baselines:
        del known["compare_baselines"]  # `dlpipe check` refuses it
    needs = [name for name in known if name in provided]
    own = {name: parameter for name, parameter in known.items() if name not in provided}
    return _description(registered.name, component.kind, component.summary, needs, own)


def description_of_built_in(name: str) -> dict[str, Any] | None:
    """Return the same of an optimizer, a schedule or a loss without a namespace, such as "adam"; else None."""
    for choice, targets in CHOICES.items():
        if name in targets:
            summary = read_signature(targets[name]).summary if targets[name] else ""
            return _description(name, choice, summary, [], choice_keys(choice, name))
    return None


def _description(
    name: str, kind: str, summary: str, needs: Sequence[str], parameters: Mapping[str, Parameter]
) -> dict[str, Any]:
    described = [
        {
            "name": parameter.name,
            "expects": describe(parameter.kind),
            "required": parameter.required,
            "default": _default(parameter),
            "text": parameter.help,
        }
        for parameter in parameters.values()
    ]
    return {"name": name, "kind": kind, "summary": summary, "needs": list(needs), "parameters": described}


def resolved_values(pipeline: Pipeline) -> Iterator[tuple[str, Any, str]]:
    """Yield every value of a pipeline: its dotted path, the value, and what set it."""
    for path, value in leaves(pipeline.plain()):
        yield dotted(path), value, str(pipeline.origin(path) or "default")


def _default(parameter: Parameter) -> Any:
    if parameter.required:
        return None
    return parameter.default.source if isinstance(parameter.default, Computed) else parameter.default
