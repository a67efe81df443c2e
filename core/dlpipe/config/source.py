"""Reading a pipeline file: TOML text, ``extends``, ``--set``, and who said what.

The outcome is a plain tree of values and, for every path in it, the file and line that set it.
Nothing here knows what the keys mean; `dlpipe.config.pipeline` does.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlpipe.config.toml_lines import TooDeep, key_lines, repeated_keys
from dlpipe.errors import PipelineError, Problem
from dlpipe.messages import nearest

#: A pipeline is written by a person; anything longer is not one, and would only cost time to refuse.
MAX_BYTES = 1_000_000
#: TOML promises whole numbers of 64 bits and no more.
MAX_INTEGER = 2**63 - 1
SET = "--set"

KeyPath = tuple[str | int, ...]
_BARE = re.compile(r"[A-Za-z0-9_-]+")
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
        PipelineError: a file cannot be read, is no TOML or extends itself; an assignment is none.
    """
    source = _read(Path(file), Origin(str(Path(file))), ())
    problems: list[Problem] = []
    for assignment in assignments:
        try:
            _merge(source, _assigned(assignment))
        except PipelineError as error:
            problems += error.problems
    if problems:
        raise PipelineError(problems)
    return source


def source_of_text(text: str, file: str) -> Source:
    """Read one TOML text as if it stood in `file`; what it extends is not followed."""
    if "\0" in text:
        raise PipelineError([Problem(file, text.count("\n", 0, text.index("\0")) + 1, "holds a NUL byte: not TOML")])
    try:
        origins = {path: Origin(file, line) for path, line in key_lines(text).items()}
        values = tomllib.loads(text)
    except TooDeep as error:
        raise PipelineError([Problem(file, error.line, str(error))]) from None
    except ValueError as error:  # TOMLDecodeError, and what `int` says to thousands of digits
        raise PipelineError(_syntax_problems(file, text, str(error))) from None
    source = Source(values, origins, {file: text})
    problems = [
        Problem(file, source.origin(path).line, f"`{dotted(path)}` is a whole number of more than 64 bits")
        for path in _too_large(values, ())
    ]
    if problems:
        raise PipelineError(problems)
    return source


def drop(source: Source, path: KeyPath) -> None:
    """Forget who set `path` and everything below it."""
    for known in [known for known in source.origins if known[: len(path)] == path]:
        del source.origins[known]


def _read(file: Path, asked: Origin, extended_by: tuple[Path, ...]) -> Source:
    """Read a file and what it extends; `asked` is where its name stands."""
    source = source_of_text(_text(file, asked), str(file))
    ring = (*extended_by, file)
    if file.resolve() in [path.resolve() for path in extended_by]:
        raise PipelineError([Problem(asked.file, asked.line, "extends itself: " + " → ".join(map(str, ring)))])
    if "extends" not in source.values:
        return source
    base_name = source.values.pop("extends")
    origin = source.origins.pop(("extends",))
    if not isinstance(base_name, str):
        raise PipelineError([Problem(origin.file, origin.line, f"extends = {base_name!r}: expected a file name")])
    merged = _read(file.parent / base_name, origin, ring)
    _merge(merged, source)
    merged.texts = source.texts | merged.texts
    return merged


def _text(file: Path, asked: Origin) -> str:
    """Return the text of a file; `asked` is to blame where there is none."""
    name = file.relative_to(asked.folder) if file.is_relative_to(asked.folder) else file
    start = "" if asked.file == str(file) else f'extends = "{name}": '
    try:
        with file.open("rb") as stream:  # no size is asked for: pipes and devices have none
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        hint = nearest(file.name, (path.name for path in file.parent.glob("*.toml")))
        message = f"{start}there is no such pipeline file.{hint}"
        raise PipelineError([Problem(asked.file, asked.line, message)]) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        message = f"{start}cannot be read: {getattr(error, 'strerror', None) or error}"
        raise PipelineError([Problem(asked.file, asked.line, message)]) from None
    if len(raw) > MAX_BYTES:
        raise PipelineError([Problem(str(file), 0, f"is too long; a pipeline has {MAX_BYTES:,} bytes at most")])
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise PipelineError([Problem(str(file), line, f"{found} is not UTF-8; save the file as UTF-8")]) from None


def _syntax_problems(file: str, text: str, message: str) -> list[Problem]:
    """Return what keeps a text from being TOML; `message` is what ``tomllib`` said of the first such place."""
    place = _ERROR_PLACE.search(message)
    line = int(place.group(1)) if place and place.group(1) else text.count("\n") + 1 if place else 0
    repeated = repeated_keys(text)
    problems = [
        Problem(file, second, f"`{dotted(path)}` is given twice, first on line {first}; remove one")
        for path, first, second in repeated
    ]
    # A key that is given twice is what tomllib stops at, too, unless it stopped before.
    if not repeated or line < min(second for _, _, second in repeated):
        problems.append(Problem(file, line, f"is not TOML: {_ERROR_PLACE.sub('', message)}"))
    return problems


def _too_large(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        yield path
    elif isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _too_large(part, (*path, key))


def _assigned(assignment: str) -> Source:
    """Return the source that sets one path: ``"model.cell=gru"``."""
    name, equals, text = assignment.partition("=")
    if not equals or not name.strip():
        raise PipelineError([Problem(SET, 0, f'"{assignment}": expected PATH=VALUE, such as trainer.epochs=3')])
    return _setting(key_path(name), value_of(text), Origin(SET))


def key_path(name: str) -> tuple[str, ...]:
    """Return the path that a text such as ``"trainer.optimizer.lr"`` means."""
    return tuple(part.strip() for part in name.split("."))


def set_path(source: Source, path: tuple[str, ...], value: Any, origin: Origin) -> None:
    """Set a path as ``--set`` does, but a table takes the place of the one that was there."""
    if isinstance(value, dict):
        around: Any = source.values
        for part in path[:-1]:
            around = around.get(part) if isinstance(around, dict) else None
        if isinstance(around, dict):
            around.pop(path[-1], None)
    _merge(source, _setting(path, value, origin))


def _setting(path: tuple[str, ...], value: Any, origin: Origin) -> Source:
    """Return the source that sets one path."""
    values: dict[str, Any] = {path[-1]: value}
    for part in reversed(path[:-1]):
        values = {part: values}
    return Source(values, {path: origin}, {})


def value_of(text: str) -> Any:
    """Return the TOML value that a text stands for; one that is no TOML, such as a bare word, is itself."""
    try:
        key_lines(f"value = {text}")
        read = tomllib.loads(f"value = {text}")
    except TooDeep as error:
        raise PipelineError([Problem(SET, 0, f"{text[:20]}… {error}")]) from None
    except ValueError:
        return text.strip()
    if any(_too_large(read, ())):
        raise PipelineError([Problem(SET, 0, f"{text[:20]}… is a whole number of more than 64 bits")])
    return read["value"] if len(read) == 1 else text.strip()


def _merge(base: Source, over: Source) -> None:
    _merge_tables(base, over, base.values, over.values, ())


def _merge_tables(base: Source, over: Source, below: dict[str, Any], above: dict[str, Any], path: KeyPath) -> None:
    # The parameters of one component mean nothing to another. (A table called `use` is an evaluator's.)
    if isinstance(above.get("use"), str) and below.get("use") not in (None, above["use"]):
        below.clear()
        place = base.origins.get(path)
        drop(base, path)
        if place:
            base.origins[path] = place
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
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{key}" if text else key
    return text
