"""Reading a pipeline file: TOML text, ``extends``, ``--set``, and the origin of each value.

The result is a plain tree of values and, for every path in it, the file and line that set it. What the keys mean is
checked elsewhere: `dlpipe.config.check`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlpipe.config.shipped import shipped_pipelines
from dlpipe.config.toml_lines import KeyPath, TooDeep, key_lines, leading_path, repeated_keys
from dlpipe.errors import PipelineError, Problem
from dlpipe.messages import nearest, shell_path, shown

#: No person writes a longer pipeline, and a longer file would take time to refuse.
MAX_BYTES = 1_000_000
#: TOML guarantees integers of 64 bits.
MAX_INTEGER = 2**63 - 1
SET = "--set"
#: In Python: the dict that a pipeline is, and a change to a pipeline.
ARGUMENT, OVERRIDE = "argument of load", "override"

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ERROR_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True)
class Origin:
    """What set a value: a file and line or, with line 0, ``--set``, a dict or an override in Python."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def folder(self) -> Path:
        """The folder from which a relative path in this place starts."""
        return Path() if self.file in (SET, ARGUMENT, OVERRIDE) else Path(self.file).parent


@dataclass
class Source:
    """The merged content of the files and the command line.

    Args:
        values: the tables as ``tomllib`` reads them, without ``extends``.
        origins: what set each key; a table belongs to the last file that names it.
        texts: the files by name, the requested one first.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> Origin:
        """Return what set `path`, a key in it, or the nearest table around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
            # ``--set trainer.schedule.gamma=1`` makes a table that nothing else names.
            if below := [origin for known, origin in self.origins.items() if known[:length] == path[:length]]:
                return below[0]
        first = next(iter(self.texts), SET)
        return Origin(first, int(first not in (SET, ARGUMENT)))

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a mistake at the line of `path`; in a dict, which has no lines, at the path itself."""
        origin = self.origin(path)
        place = dotted(path) if origin.file == ARGUMENT else ""
        return Problem(place or origin.file, origin.line, message)


def read_source(file: str | Path, assignments: Iterable[str] = ()) -> Source:
    """Read a pipeline file with the files that it extends, and apply ``--set`` assignments.

    Args:
        file: the TOML file.
        assignments: strings such as ``"trainer.epochs=3"``.

    Raises:
        PipelineError: a file cannot be read, is not TOML or extends itself, or an assignment is not valid.
    """
    source = _read(Path(file), Origin(str(Path(file))), ())
    assign(source, assignments)
    return source


def assign(source: Source, assignments: Iterable[str | Mapping[str, Any]], by: str = SET) -> None:
    """Set values in a source, all together, as a file would that extends it: their order matters only for one path.

    Args:
        assignments: strings such as ``"trainer.epochs=3"``, or plain values by path.
        by: what sets them, for origins and messages.

    Raises:
        PipelineError: with all assignments that are not valid.
    """
    assigned, problems = Source(), list[Problem]()
    for assignment in assignments:
        try:
            if isinstance(assignment, str):
                _add(assigned, _assigned(assignment, by))
                continue
            for name, value in assignment.items():
                _add(assigned, _assignment(_path_of(name, by), value, by))
        except PipelineError as error:
            problems += error.problems
    if problems:
        raise PipelineError(problems)
    _merge(source, assigned)


def source_of_text(text: str, file: str) -> Source:
    """Read one TOML text as the content of `file`; ``extends`` is not followed."""
    if "\0" in text:
        at = text.index("\0")
        raise _error(Origin(file, text.count("\n", 0, at) + 1), f"not valid TOML: character {at} is NUL")
    try:
        origins = {path: Origin(file, line) for path, line in key_lines(text).items()}
        values = tomllib.loads(text)
    except TooDeep as error:
        raise _error(Origin(file, error.line), f"{error}") from None
    except ValueError as error:  # TOMLDecodeError, or from `int` for thousands of digits
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
    """Forget what set `path` and everything below it."""
    for known in [known for known in source.origins if known[: len(path)] == path]:
        del source.origins[known]


def _read(file: Path, named_by: Origin, extended_by: tuple[Path, ...]) -> Source:
    """Read a file and those that it extends; `named_by` is where its name comes from."""
    source = source_of_text(_text(file, named_by), str(file))
    circle = (*extended_by, file)
    if file.resolve() in [path.resolve() for path in extended_by]:
        raise _error(named_by, f"the file extends itself: {' → '.join(map(str, circle))}")
    return with_base(source, file, circle)


def with_base(source: Source, file: Path, circle: tuple[Path, ...] = ()) -> Source:
    """Return a source merged into that which it extends, if it does.

    Args:
        file: that it was read from; the name of the other one starts in its folder.
        circle: the files that extend each other, `file` last.
    """
    if "extends" not in source.values:
        return source
    base_name = source.values.pop("extends")
    origin = source.origins.pop(("extends",))
    if not isinstance(base_name, str):
        raise _error(origin, f"extends = {shown(base_name)}: expected a file name")
    merged = _read(file.parent / base_name, origin, circle)
    _merge(merged, source)
    merged.texts = source.texts | merged.texts
    return merged


def _text(file: Path, named_by: Origin) -> str:
    """Return the text of a file; an error about a missing file points to `named_by`."""
    name = file.relative_to(named_by.folder) if file.is_relative_to(named_by.folder) else file
    start = "" if named_by.file == str(file) else f'extends = "{name}": '
    try:
        if start and file.exists() and not (file.is_file() or file.is_dir()):  # only the user may name a pipe
            raise _error(named_by, f"{start}this is not a file, but a pipe or a device; name a pipeline file")
        with file.open("rb") as stream:  # its size is not checked first: pipes and devices have none
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        hint = _of_dlpipe(file, named_by if start else None)
        hint = hint or nearest(file.name, (path.name for path in file.parent.glob("*.toml")))
        if not start:
            hint = hint or nearest(str(file).removesuffix(".toml"), shipped_pipelines())
        raise _error(named_by, f"{start}there is no such pipeline file.{hint}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _error(named_by, f"{start}the file cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > MAX_BYTES:
        raise _error(Origin(str(file)), f"the file is too long; a pipeline has at most {MAX_BYTES:,} bytes")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise _error(Origin(str(file), line), f"{found} is not UTF-8; save the file as UTF-8") from None


def _of_dlpipe(file: Path, extended_by: Origin | None) -> str:
    """Return how to get a pipeline that comes with dlpipe if a missing file has its name, or an empty string."""
    name = next((name for name in shipped_pipelines() if file.with_suffix("").match(name)), "")
    if not name:
        return ""
    copy = f"dlpipe new pipeline {name}"
    if extended_by is None:
        return f" A pipeline of this name comes with dlpipe: dlpipe run {name}; to copy it: {copy}"
    beside = f"{Path(name).name}.toml"
    return (
        f" A pipeline of this name comes with dlpipe; copy it with: {copy} --output "
        f'{shell_path(extended_by.folder / beside)}; and write extends = "{beside}"'
    )


def _error(origin: Origin, message: str) -> PipelineError:
    return PipelineError([Problem(origin.file, origin.line, message)])


def _syntax_problems(file: str, text: str, message: str) -> list[Problem]:
    """Return why a text is not TOML; `message` is what ``tomllib`` reports about the first mistake."""
    place = _ERROR_PLACE.search(message)
    line = int(place.group(1)) if place and place.group(1) else text.count("\n") + 1 if place else 0
    repeated = repeated_keys(text)
    problems = [
        Problem(file, second, f"`{dotted(path)}` is given twice, first on line {first}; remove one")
        for path, first, second in repeated
    ]
    # tomllib also stops at a repeated key, unless it has stopped at another mistake before.
    if not repeated or line < min(second for _, _, second in repeated):
        problems.append(Problem(file, line, f"not valid TOML: {_ERROR_PLACE.sub('', message)}"))
    return problems


def _too_large(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        yield path
    elif isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _too_large(part, (*path, key))


def _assigned(assignment: str, by: str) -> Source:
    """Return the source that sets one path: ``"model.cell=gru"``."""
    try:
        path, rest = leading_path(assignment)
    except ValueError:
        rest = ""
    if not rest.startswith("="):
        raise _error(Origin(by), f'"{assignment}": expected PATH=VALUE, such as trainer.epochs=3')
    return _assignment(path, value_of(rest[1:], by), by)


def _assignment(path: tuple[str, ...], value: Any, by: str) -> Source:
    if path[0] == "extends":
        raise _error(
            Origin(by), f"extends = {shown(value)}: only a file can extend another one; write it at the top of the file"
        )
    return _setting(path, value, Origin(by))


def _path_of(name: str, by: str) -> tuple[str, ...]:
    try:
        return key_path(name)
    except ValueError:
        raise _error(Origin(by), f"{shown(name)}: expected a path such as trainer.epochs") from None


def key_path(name: str) -> tuple[str, ...]:
    """Return the path that a string such as ``"trainer.optimizer.lr"`` stands for; `dotted` is the reverse.

    Raises:
        ValueError: it is not a path.
    """
    path, rest = leading_path(name)
    if rest:
        raise ValueError(f"{name!r} is not a path: {rest!r} follows it")
    return path


def set_path(source: Source, path: tuple[str, ...], value: Any, origin: Origin) -> None:
    """Set a path as ``--set`` does, except that a table replaces an existing one instead of being merged."""
    if isinstance(value, dict):
        around: Any = source.values
        for part in path[:-1]:
            around = around.get(part) if isinstance(around, dict) else None
        if isinstance(around, dict):
            around.pop(path[-1], None)
    _merge(source, _setting(path, value, origin))


def rename_key(source: Source, table: dict[str, Any], path: KeyPath, old: str, new: str) -> None:
    """Rename a key of the table at `path`; the order of its keys stays, and what set each of them."""
    items = list(table.items())
    table.clear()
    table.update((new if key == old else key, value) for key, value in items)
    length = len(path) + 1
    for known in [known for known in source.origins if known[:length] == (*path, old)]:
        source.origins[(*path, new, *known[length:])] = source.origins.pop(known)


def _setting(path: tuple[str, ...], value: Any, origin: Origin) -> Source:
    """Return the source that sets one path, and in a table what it has."""
    values: dict[str, Any] = {path[-1]: value}
    for part in reversed(path[:-1]):
        values = {part: values}
    inner = [(*path, *below) for below, _ in leaves(value)] if isinstance(value, dict) else []
    return Source(values, dict.fromkeys([path, *inner], origin), {})


def value_of(text: str, by: str = SET) -> Any:
    """Return the TOML value of a string; text that is not TOML, such as a bare word, stands for itself."""
    try:
        key_lines(f"value = {text}")
        read = tomllib.loads(f"value = {text}")
    except TooDeep as error:
        raise _error(Origin(by), f"{text[:20]}… is {error}") from None
    except ValueError:
        return text.strip()
    if any(_too_large(read, ())):
        raise _error(Origin(by), f"{text[:20]}… is a whole number of more than 64 bits")
    return read["value"] if len(read) == 1 else text.strip()


def _merge(base: Source, over: Source) -> None:
    """Put a source over another one, whose components it may replace."""
    _drop_parameters(base, base.values, over.values, ())
    _add(base, over)


def _drop_parameters(base: Source, below: dict[str, Any], above: dict[str, Any], path: KeyPath) -> None:
    """Empty the tables that are to select another component: parameters of one mean nothing to another."""
    # A table named `use` belongs to an evaluator of that name.
    if isinstance(above.get("use"), str) and below.get("use") not in (None, above["use"]):
        below.clear()
        place = base.origins.get(path)
        drop(base, path)
        if place:
            base.origins[path] = place
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _drop_parameters(base, below[key], value, (*path, key))


def _add(base: Source, over: Source) -> None:
    _add_table(base, over, base.values, over.values, ())


def _add_table(base: Source, over: Source, below: dict[str, Any], above: dict[str, Any], path: KeyPath) -> None:
    if path in over.origins:
        base.origins[path] = over.origins[path]
    for key, value in above.items():
        here = (*path, key)
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _add_table(base, over, below[key], value, here)
        else:
            below[key] = value
            drop(base, here)
            for known, origin in over.origins.items():
                if known[: len(here)] == here:
                    base.origins[known] = origin


def leaves(table: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the values of nested tables with their paths; an empty table is a value."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def dotted(path: KeyPath) -> str:
    """Return a path as a person would write it: ``filters[0].size``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{key}" if text else key
    return text
