"""Whether a run has the settings of a pipeline, though an earlier version of dlpipe may have made it."""

from __future__ import annotations

import tomllib
from collections.abc import Container, Mapping
from typing import Any

import tomli_w

from dlpipe.config.pipeline import Pipeline


def is_of(text: str, pipeline: Pipeline) -> bool:
    """Return whether a run with this ``resolved.toml`` is one of a pipeline."""
    now = tomli_w.dumps(pipeline.plain())
    try:
        return text == now or _same_settings(tomllib.loads(text), tomllib.loads(now), (), pipeline.source.origins)
    except tomllib.TOMLDecodeError:
        return False


def _same_settings(
    recorded: Mapping[str, Any], now: Mapping[str, Any], at: tuple[str, ...], given: Container[tuple[str | int, ...]]
) -> bool:
    """Return whether two tables are the same, but for keys of the second that nobody has given.

    Args:
        at: where the tables are.
        given: what has a value from a file or the command line.
    """
    if not recorded.keys() <= now.keys():
        return False
    for key, value in now.items():
        if key not in recorded:
            if (*at, key) in given:
                return False
        elif isinstance(value, Mapping) and isinstance(recorded[key], Mapping):
            if not _same_settings(recorded[key], value, (*at, key), given):
                return False
        elif (value, type(value)) != (recorded[key], type(recorded[key])):
            return False
    return True
