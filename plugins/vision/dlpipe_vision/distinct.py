"""Lists of names and numbers in which each may occur once."""

from __future__ import annotations

from collections.abc import Sequence

from dlpipe.errors import InputError
from dlpipe.messages import shown


def require_distinct(option: str, values: Sequence[object]) -> None:
    """Refuse a list with the same value twice.

    Args:
        option: its name in a pipeline file, for the message.

    Raises:
        InputError: a value occurs twice.
    """
    if twice := [value for value in values if list(values).count(value) > 1]:
        raise InputError(f"{option} = {shown(list(values))}: {shown(twice[0])} occurs twice; name each once")
