"""Importing the target of a record."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import click

from dlpipe.errors import PluginError


def load_target(target: str) -> Any:
    """Import ``"package.module:Name"`` and return the object of that name.

    Raises:
        PluginError: the module cannot be imported or has no such name.
    """
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a plugin's import can raise anything
        raise PluginError(f"{target} cannot be imported: {type(error).__name__}: {error}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise PluginError(f"{target} cannot be used: module {module_name} has no {attribute}") from error


def load_command(target: str) -> click.Command:
    """Import the command that a target names.

    Raises:
        PluginError: it cannot be imported, or is no command.
    """
    command = load_target(target)
    if not isinstance(command, click.Command):
        raise PluginError(f"{target} is a {type(command).__name__}; expected a click.Command")
    return command


def load_rule(target: str) -> Callable[[Any], Any]:
    """Import the function of a rule that a target names.

    Raises:
        PluginError: it cannot be imported, or is no function of one argument.
    """
    rule = load_target(target)
    try:
        inspect.signature(rule).bind(None)
    except (TypeError, ValueError) as error:
        raise PluginError(
            f"{target} cannot be called with a Case: {error}; expected a function of one argument"
        ) from error
    return rule  # type: ignore[no-any-return]
