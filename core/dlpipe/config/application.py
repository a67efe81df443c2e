"""What ``dlpipe predict RUN`` does with a trained run that needs no items: play an episode, draw pictures.

A data's or a model's record names a function as its *application*. Its signature is, once more, the
schema: the keyword-only parameters are the options of the command. It is called as
``application(model, data, compute, **options)`` and yields an answer after the other, dicts of plain
values; a parameter ``items`` gets the positional arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic

from dlpipe.config.defaults import Computed
from dlpipe.config.pipeline import Stage
from dlpipe.config.signatures import Parameter, read_signature
from dlpipe.config.source import value_of
from dlpipe.config.values import adapter
from dlpipe.errors import InputError
from dlpipe.fields import describe
from dlpipe.messages import shown
from dlpipe.registry.specs import DataSpec, ModelSpec

#: What every application is given.
GIVEN = ("model", "data", "compute", "items")


def application_of(stage: Stage) -> str:
    """Return the target of a stage's application, an empty text if it has none; the model's comes first."""
    for use in (stage.model, stage.data):
        if use and isinstance(use.component.spec, (DataSpec, ModelSpec)) and use.component.spec.application:
            return use.component.spec.application
    return ""


def takes_items(target: str) -> bool:
    """Say whether an application wants the positional arguments."""
    return "items" in read_signature(target).parameters


def options_of(target: str) -> dict[str, Parameter]:
    """Return the options of an application by the names of its parameters.

    Raises:
        PluginError: there is no such function.
    """
    parameters = read_signature(target).parameters
    return {name: parameter for name, parameter in parameters.items() if name not in GIVEN}


def check_options(target: str, given: Mapping[str, str | bool]) -> dict[str, Any]:
    """Return the values that a person's options mean.

    Args:
        given: texts as they stand on the command line, by parameter.

    Raises:
        InputError: with all that is wrong.
    """
    values, mistakes = {}, []
    for name, text in given.items():
        kind = options_of(target)[name].kind
        # What looks like a number may be meant as a text: --output 2024.
        for candidate in [text] if isinstance(text, bool) else [value_of(text), text]:
            try:
                values[name] = adapter(kind).validate_python(candidate)
                break
            except pydantic.ValidationError:
                continue
        else:
            mistakes.append(f"{flag(name)} {text}: expected {describe(kind)}")
    mistakes += [
        f"missing option {flag(name)}: expected {describe(parameter.kind)}"
        for name, parameter in options_of(target).items()
        if parameter.required and name not in given
    ]
    if mistakes:
        raise InputError("\n".join(mistakes))
    return values


def flag(name: str) -> str:
    """Return a parameter's name as a person types it."""
    return f"--{name.replace('_', '-')}"


def explained(parameter: Parameter) -> str:
    """Return what an option is for, what it takes and what it is by default."""
    default = parameter.default
    if isinstance(default, Computed):  # Path("drawn.png") is drawn.png to a person
        default = default.source.removeprefix("Path(").removesuffix(")").strip("'\"")
    plain = None if parameter.required else default
    told = "" if plain is None or plain is False or plain == () else f" (default: {shown(plain)})"
    text = parameter.text or describe(parameter.kind)
    return f"{text[:1].upper()}{text[1:].rstrip('.')}.{told}"
