"""What ``dlpipe predict RUN`` does with a trained model that needs no input items: play an episode, draw images.

The record of a model or of data can name a function as its *application*. Its signature is the schema: its keyword-only
parameters are the options of the command. It is called as ``application(model, data, compute, **options)`` and yields
answers, dicts of plain values; a parameter ``items`` receives the positional arguments, and a
`dlpipe.items.FailedItem` is the answer to one that cannot be used. A path with a default is a
file that it writes: an existing one is not overwritten unless the user names it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from dlpipe.config.defaults import Computed
from dlpipe.config.pipeline import Stage
from dlpipe.config.signatures import Parameter, read_signature
from dlpipe.config.source import value_of
from dlpipe.config.values import adapter
from dlpipe.errors import InputError
from dlpipe.fields import describe
from dlpipe.messages import nearest, shown
from dlpipe.registry.specs import DataSpec, ModelSpec

#: Arguments that every application receives.
PROVIDED = ("model", "data", "compute", "items")


def application_of(stage: Stage) -> str:
    """Return the target of a stage's application, or an empty string; that of the model takes precedence."""
    for use in (stage.model, stage.data):
        if use and isinstance(use.component.spec, (DataSpec, ModelSpec)) and use.component.spec.application:
            return use.component.spec.application
    return ""


def takes_items(target: str) -> bool:
    """Return whether an application takes the positional arguments."""
    return "items" in read_signature(target).parameters


def options_of(target: str) -> dict[str, Parameter]:
    """Return the options of an application by parameter name.

    Raises:
        PluginError: there is no such function.
    """
    parameters = read_signature(target).parameters
    return {name: parameter for name, parameter in parameters.items() if name not in PROVIDED}


def flag(name: str) -> str:
    """Return the option of a parameter: ``--num-images``."""
    return f"--{name.replace('_', '-')}"


def check_options(target: str, given: Mapping[str, Any], named: Callable[[str], str] = flag) -> dict[str, Any]:
    """Return the values of the options given on the command line, or in Python.

    Args:
        given: by parameter name; the strings of the command line, or values.
        named: returns how a message refers to an option.

    Raises:
        InputError: with all mistakes.
    """
    values: dict[str, Any] = {}
    mistakes = [
        f"{named(name)}: there is no such option.{nearest(name, options_of(target))}"
        for name in given
        if name not in options_of(target)
    ]
    for name, text in given.items() if not mistakes else ():
        kind = options_of(target)[name].kind
        # What looks like a number may be meant as a string: --output 2024.
        for candidate in [value_of(text), text] if isinstance(text, str) else [text]:
            try:
                values[name] = adapter(kind).validate_python(candidate)
                break
            except pydantic.ValidationError:
                continue
        else:
            mistakes.append(f"{named(name)} {text}: expected {describe(kind)}")
    mistakes += [
        f"missing option {named(name)}: expected {describe(parameter.kind)}"
        for name, parameter in options_of(target).items()
        if parameter.required and name not in given
    ]
    for name, parameter in options_of(target).items():
        if name not in given and isinstance(parameter.default, Path):
            try:
                require_new_default(parameter.default, named(name))
            except InputError as error:
                mistakes.append(str(error))
    if mistakes:
        raise InputError("\n".join(mistakes))
    return values


def require_new_default(output: Path, option: str = "--output") -> None:
    """Refuse to write a file that the user has not named if it exists: the user does not mean to overwrite it.

    Args:
        option: that names another file.

    Raises:
        InputError: there is such a file.
    """
    if os.path.lexists(output):  # also where a link leads to it
        raise InputError(
            f"{output} exists; choose another name with {option} FILE, or overwrite it with {option} {output}"
        )


def explained(parameter: Parameter) -> str:
    """Return the help of an option: its description and its default."""
    default = None if parameter.required else parameter.default
    if isinstance(default, Computed):
        default = default.source
    suffix = "" if default is None or default is False or default == () else f" (default: {shown(default)})"
    text = parameter.text or describe(parameter.kind)
    return f"{text[:1].upper()}{text[1:].rstrip('.')}.{suffix}"
