"""A pipeline given in Python, as a file, the name of one that comes with dlpipe, or a dict; and changes to it.

A dict is read as the TOML that it would be in a file, so that both mean the same.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from dlpipe.config.shipped import file_of
from dlpipe.config.source import (
    ARGUMENT,
    OVERRIDE,
    Origin,
    Source,
    assign,
    dotted,
    read_source,
    source_of_text,
    with_base,
)
from dlpipe.config.toml_lines import KeyPath
from dlpipe.errors import InputError, PipelineError, Problem
from dlpipe.messages import shown

#: What a value of a pipeline can be.
WORDS = "string, number, boolean, date, list or dict"
_PLAIN = (str, bool, int, float, datetime.date, datetime.time)  # a datetime is a date


def source_of(pipeline: str | Path | Mapping[str, Any]) -> Source:
    """Return the content of a pipeline.

    Args:
        pipeline: a TOML file, the name of a pipeline that comes with dlpipe, or the tables of a file as a dict, in
            which relative paths start from the working directory.

    Raises:
        PipelineError: the file cannot be read, or a value is none that TOML has.
        InputError: it is something else.
    """
    if isinstance(pipeline, (str, Path)):
        return read_source(file_of(str(pipeline)))
    if not isinstance(pipeline, Mapping):
        raise InputError(f"load got a {type(pipeline).__name__}; expected a file, a name or a dict")
    source = source_of_text(tomli_w.dumps(as_plain(pipeline)), ARGUMENT)
    source.origins = dict.fromkeys(source.origins, Origin(ARGUMENT))
    return with_base(source, Path(ARGUMENT))


def override(source: Source, overrides: Iterable[str | Mapping[str, Any]]) -> None:
    """Change values of a source.

    Args:
        overrides: strings such as ``"trainer.epochs=3"``, as after ``--set``, or values by path.

    Raises:
        PipelineError: an override is not valid.
    """
    assign(source, [each if isinstance(each, str) else as_plain(each) for each in overrides], OVERRIDE)


def as_plain(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table as TOML can hold it: paths as strings, tuples as lists, numbers of numpy as those of Python.

    Raises:
        PipelineError: with all values that TOML cannot hold.
    """
    problems: list[Problem] = []
    plain = _plain(table, (), problems)
    if problems:
        raise PipelineError(problems)
    return dict(plain)


def _plain(value: Any, path: KeyPath, problems: list[Problem]) -> Any:
    if isinstance(value, Mapping):
        for key in [key for key in value if not isinstance(key, str)]:
            problems.append(Problem(dotted(path) or ARGUMENT, 0, f"the key {key!r} is not a string"))
        return {key: _plain(part, (*path, key), problems) for key, part in value.items() if isinstance(key, str)}
    if isinstance(value, (list, tuple)):
        return [_plain(part, (*path, number), problems) for number, part in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if getattr(value, "shape", None) == ():  # a number of numpy
        value = value.item()
    if isinstance(value, _PLAIN):
        return value
    expected = "TOML has no such value; leave the key out" if value is None else f"expected a {WORDS}"
    problems.append(Problem(dotted(path), 0, f"{value if value is None else shown(value)}: {expected}"))
    return None
