"""Reading a pipeline file: TOML text, ``extends``, ``--set``, and who said what.

The outcome is a plain tree of values and, for every path in it, the file and line that set it.
Nothing here knows what the keys mean; `dlpipe.pipeline` does.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlpipe.components import nearest
from dlpipe.errors import PipelineError, Problem
from dlpipe.toml_positions import key_lines, repeated_keys

#: A pipeline is written by a person; anything longer is not one, and would only cost time to refuse.
MAX_BYTES = 1_000_000
#: `tomllib` and the checks recurse once per level; no pipeline nests deeper than this.
MAX_DEPTH = 20
SET = "--set"

KeyPath = tuple[str | int, ...]
_ERROR_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True)
class Origin:
    """Who set a value: a file and line, or ``--set`` (line 0)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def folder(self) -> Path:
        """Folder that a relative path written there starts from."""
        return Path() if self.file == SET else Path(self.file).parent


@dataclass
class Source:
    """What the files and the command line say, merged.

    Args:
        values: the tables as ``tomllib`` reads them, less ``extends``.
        origins: who set each key; a table belongs to the file that names it last.
        texts: the files by name, the one asked for first.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> Origin:
        """Return who set `path`, or the nearest table around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return Origin(next(iter(self.texts), SET), 1 if self.texts else 0)


def read_source(file: str | Path, assignments: Iterable[str] = ()) -> Source:
    """Read a pipeline file with all that it extends, and apply ``--set`` assignments.

    Args:
        file: the TOML file.
        assignments: texts such as ``"trainer.epochs=3"``.

    Raises:
        PipelineError: a file cannot be read, is no TOML or extends itself; an assignment has no
            ``=``.
    """
    source = _read(Path(file), ())
    problems = []
    for assignment in assignments:
        try:
            _merge(source, _assigned(assignment))
        except ValueError as error:
            problems.append(Problem(SET, 0, str(error)))
    if problems:
        raise PipelineError(problems)
    return source


def source_of_text(text: str, file: str) -> Source:
    """Read one TOML text as if it stood in `file`; what it extends is not followed."""
    if "\0" in text:
        raise PipelineError([Problem(file, text.count("\n", 0, text.index("\0")) + 1, "holds a NUL byte: not TOML")])
    repeated = repeated_keys(text)
    try:
        values = tomllib.loads(text)
        lines = key_lines(text)
        _check_depth(file, lines)
    except RecursionError:
        raise PipelineError([Problem(file, 1, f"nests deeper than {MAX_DEPTH} levels")]) from None
    except tomllib.TOMLDecodeError as error:
        raise PipelineError(_syntax_problems(file, text, str(error), repeated)) from None
    return Source(values, {path: Origin(file, line) for path, line in lines.items()}, {file: text})


def drop(source: Source, path: KeyPath) -> None:
    """Forget who set `path` and everything below it."""
    for known in [known for known in source.origins if known[: len(path)] == path]:
        del source.origins[known]


def _read(file: Path, extended_by: tuple[Path, ...]) -> Source:
    ring = [*extended_by, file]
    if file.resolve() in [path.resolve() for path in extended_by]:
        raise PipelineError([Problem(str(extended_by[-1]), 1, "extends itself: " + " → ".join(map(str, ring)))])
    source = source_of_text(_text(file), str(file))
    if "extends" not in source.values:
        return source
    base_name = source.values.pop("extends")
    origin = source.origins.pop(("extends",))
    if not isinstance(base_name, str):
        raise PipelineError([Problem(origin.file, origin.line, f"extends = {base_name!r}: expected a file name")])
    try:
        merged = _read(file.parent / base_name, (*extended_by, file))
    except FileNotFoundError:
        hint = nearest(base_name, (path.name for path in file.parent.glob("*.toml")))
        message = f'extends = "{base_name}": there is no such file.{hint}'
        raise PipelineError([Problem(origin.file, origin.line, message)]) from None
    _merge(merged, source)
    merged.texts = source.texts | merged.texts
    return merged


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            size = file.stat().st_size
            raise PipelineError([Problem(str(file), 0, f"has {size:,} bytes; a pipeline has {MAX_BYTES:,} at most")])
        raw = file.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            known = {path.name: path for path in file.parent.glob("*.toml")} if file.parent.is_dir() else {}
            message = f"there is no such pipeline file.{nearest(file.name, known)}"
        raise PipelineError([Problem(str(file), 0, message)]) from None
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise PipelineError([Problem(str(file), line, f"{found} is not UTF-8; save the file as UTF-8")]) from None


def _syntax_problems(file: str, text: str, message: str, repeated: list[tuple[KeyPath, int, int]]) -> list[Problem]:
    if repeated:
        return [
            Problem(file, second, f"`{dotted(path)}` is given twice, first on line {first}; remove one")
            for path, first, second in repeated
        ]
    place = _ERROR_PLACE.search(message)
    line = int(place.group(1)) if place and place.group(1) else text.count("\n") + 1
    return [Problem(file, line, f"is not TOML: {_ERROR_PLACE.sub('', message)}")]


def _check_depth(file: str, lines: dict[KeyPath, int]) -> None:
    for path, line in lines.items():
        if len(path) > MAX_DEPTH:
            raise PipelineError([Problem(file, line, f"`{dotted(path)}` nests deeper than {MAX_DEPTH} levels")])


def _assigned(assignment: str) -> Source:
    """Return the source that sets one path: ``"model.cell=gru"``."""
    name, equals, text = assignment.partition("=")
    if not equals or not name.strip():
        raise ValueError(f'"{assignment}": expected PATH=VALUE, such as trainer.epochs=3')
    path = tuple(part.strip() for part in name.split("."))
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word is a text
    values: dict[str, Any] = {path[-1]: value}
    for part in reversed(path[:-1]):
        values = {part: values}
    return Source(values, {path: Origin(SET)}, {})


def _merge(base: Source, over: Source) -> None:
    _merge_tables(base, over, base.values, over.values, ())


def _merge_tables(base: Source, over: Source, below: dict[str, Any], above: dict[str, Any], path: KeyPath) -> None:
    # The parameters of one component mean nothing to another.
    if "use" in above and below.get("use") not in (None, above["use"]):
        below.clear()
        drop(base, path)
    if path in over.origins:
        base.origins[path] = over.origins[path]
    for key, value in above.items():
        here = (*path, key)
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge_tables(base, over, below[key], value, here)
        else:
            below[key] = value
            drop(base, here)
            for known, origin in over.origins.items():
                if known[: len(here)] == here:
                    base.origins[known] = origin


def dotted(path: KeyPath) -> str:
    """Write a path as a person would: ``filters[0].size``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def relative(path: Path) -> str:
    """Return `path` from the working directory where that is shorter to read."""
    short = os.path.relpath(path)
    return short if len(short) < len(str(path)) else str(path)
