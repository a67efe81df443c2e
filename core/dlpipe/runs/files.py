"""Reading and writing the files of a run folder, which may come from a stranger.

Two rules keep whatever happens in a run folder inside it. `require_contained` looks at every entry before a folder
of an earlier run is used: links, pipes and devices are refused, so neither dlpipe nor a component that writes a
figure can be led elsewhere. And every file is opened here, without following a link. Only what lies *around* a run
folder may be a link: the folder of all runs, or ``latest``.

JSON files are checked against one schema each, and limited in size and depth.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import pydantic

from dlpipe.errors import DlpipeError, RunFolderError
from dlpipe.json_text import to_json
from dlpipe.messages import relative, shown
from dlpipe.runs.schemas import SCHEMAS

#: No JSON file of a run is larger, except for what data learned (a vocabulary).
MAX_BYTES = 2**24
MAX_DATA_BYTES = 2**30
#: Tables within tables: deeper JSON is not written by dlpipe and would exhaust the stack of whoever walks through it.
MAX_DEPTH = 60
#: The links that dlpipe makes in a run folder: from ``checkpoints/last`` or ``best`` to a checkpoint beside it. A
#: process that is killed while it sets one leaves its temporary name.
_OWN_LINK = re.compile(r"last|best|\.(last|best)-[0-9]+")
#: The link that the program of wandb makes to its own log: `dlpipe.training.wandb` removes it, unless it is killed
#: before. Nothing is read or written through it.
_LINK_OF_WANDB = ("wandb", "logs", "debug-core.log")
CHECKPOINT = re.compile(r"step-([0-9]{8,12})")


def require_contained(folder: Path) -> None:
    """Refuse a run folder with an entry that leads out of it, or that is neither a file nor a folder.

    Raises:
        RunFolderError: there is one, or a folder in it cannot be listed; it is named.
    """
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except FileNotFoundError:  # a checkpoint that another process has just deleted or renamed
            continue
        except OSError as error:
            raise RunFolderError(f"{relative(here)} cannot be read: {error.strerror}") from error
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif not entry.is_file(follow_symlinks=False) and not _is_own_link(path):
                raise _odd(path)


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of a regular file, which is not a link; a pipe is refused at once instead of waited for.

    Raises:
        RunFolderError: it is something else.
        OSError: as `os.open`.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise _odd(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _odd(path)
    return descriptor


def open_text(path: Path, mode: str = "r") -> IO[str]:
    """Open a text file of a run folder: "r" to read, "a+" to append (and read).

    Raises:
        RunFolderError: it is not a regular file.
        OSError: it cannot be opened.
    """
    flags = {"r": os.O_RDONLY, "a+": os.O_RDWR | os.O_APPEND | os.O_CREAT}[mode]
    return open(
        open_regular(path, flags), mode, encoding="utf-8", errors="strict" if mode == "r" else "backslashreplace"
    )


def append_text(path: Path, text: str) -> None:
    """Write text at the end of a file, which is created if it is missing.

    Raises:
        RunFolderError: it is not a regular file.
        OSError: it cannot be written; a part of the text may have been.
    """
    descriptor = open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        left = text.encode("utf-8", "backslashreplace")
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """Return the text of a file of at most `most` bytes.

    Raises:
        RunFolderError: it is missing, is not a regular file, is larger, or is not UTF-8.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise RunFolderError(f"{relative(path)} has more than {most:,} bytes; dlpipe writes no such file")
        return content.decode("utf-8")
    except FileNotFoundError:
        raise RunFolderError.missing(path.parent, path.name) from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{relative(path)} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a run, which has the form that `SCHEMAS` gives for its name.

    Raises:
        RunFolderError: the file is missing, cannot be read, or has another form.
    """
    return _parse(read_text(path, MAX_DATA_BYTES if path.name == "data.json" else MAX_BYTES), path, relative(path))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file of a run with one on each line, each of the form that `SCHEMAS` gives for its name.

    Raises:
        RunFolderError: the file is missing, cannot be read, or a line has another form.
    """
    lines = read_text(path, MAX_DATA_BYTES).splitlines()
    return [_parse(line, path, f"{relative(path)}:{number}") for number, line in enumerate(lines, 1)]


def _parse(text: str, path: Path, place: str) -> dict[str, Any]:
    """Return the JSON object of the file `path`, or of one line of it, that stands at `place`."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{place} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{place} holds a {type(content).__name__}; expected an object")
    if _is_deep(content):
        raise RunFolderError(f"{place} is nested more than {MAX_DEPTH} levels deep")
    try:
        _adapter(path.name).validate_python(content)
    except pydantic.ValidationError as error:
        raise RunFolderError(f"{place}: {_mistake(error)}; it was not written by dlpipe") from None
    return content


@contextmanager
def fits(path: Path, what: str, error_type: type[DlpipeError] = RunFolderError) -> Iterator[None]:
    """Report whatever a component raises over the content of `path` as an error about that file.

    Args:
        what: the component that gets the content, such as "the trainer".
        error_type: of the error that is raised.
    """
    try:
        yield
    except (DlpipeError, OSError):  # these name their own cause, such as a full disk
        raise
    except Exception as error:  # a foreign content can make a component raise anything
        raise error_type(f"{relative(path)} does not fit {what}: {type(error).__name__}: {error}") from error


def write_new(path: Path, text: str) -> None:
    """Write a file that does not exist yet.

    Raises:
        OSError: it exists (also as a link), or cannot be written.
    """
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; a byte of a file name that is not UTF-8 becomes an escape.

    Raises:
        DlpipeError: it cannot be written.
    """
    write_text(path, as_json(content).encode("utf-8", "backslashreplace").decode("utf-8"))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: under another name first, then renamed.

    Raises:
        DlpipeError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}")
    try:
        temporary.unlink(missing_ok=True)  # left by a process that was killed
        write_new(temporary, text)
        temporary.replace(path)
    except OSError as error:
        raise DlpipeError(f"{relative(path)} cannot be written: {error.strerror}") from error


def as_json(content: Mapping[str, Any]) -> str:
    """Return the text of a JSON file, readable for people; a number that is not finite becomes null."""
    return to_json(content, indent=1, ensure_ascii=False) + "\n"


def _is_own_link(path: Path) -> bool:
    """Return whether a link is one that `dlpipe.runs.checkpoint` makes, or wandb."""
    if path.is_symlink() and (path.parts[-4:-3] + path.parts[-2:]) == _LINK_OF_WANDB:
        return True
    own = _OWN_LINK.fullmatch(path.name) and path.parent.name == "checkpoints" and path.is_symlink()
    return bool(own and CHECKPOINT.fullmatch(str(path.readlink())))


def _odd(path: Path) -> RunFolderError:
    kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "neither a file nor a folder"
    name = f"{relative(path)} → {path.readlink()}" if path.is_symlink() else relative(path)
    return RunFolderError(
        f"{name}: this entry of a run folder is {kind}; expected a regular file. dlpipe does not use such a folder, "
        "since it could lead elsewhere: remove the entry, or replace it with a copy of the file"
    )


@cache
def _adapter(name: str) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(SCHEMAS.get(name, dict[str, Any]))


def _mistake(error: pydantic.ValidationError) -> str:
    detail = error.errors()[0]
    place = ".".join(map(str, detail["loc"]))
    if detail["type"] == "missing":
        return f"the key {shown(place)} is missing"
    return f"{shown(place)} is {shown(detail['input'])}: {detail['msg']}"


def _is_deep(content: Any) -> bool:
    """Return whether a JSON value is nested deeper than `MAX_DEPTH`, without recursion."""
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        level = [
            part
            for value in level
            if isinstance(value, (dict, list))
            for part in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True


def nearest_existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists: where it would be created."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    return there
