"""Atomic file operations."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dlpipe.errors import DlpipeError, InputError
from dlpipe.messages import relative


def link(path: Path, target: str) -> None:
    """Make `path` a symbolic link to `target`, atomically replacing an existing file."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(path: Path, byte: int = 0) -> Iterator[None]:
    """Hold the lock that `path` names against all other processes; it is released however the process ends.

    Args:
        byte: of the file, which need not have it: the locks of different bytes are independent.

    Raises:
        OSError: the file cannot be written, or not be locked.
    """
    with path.open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, byte)
        yield


def unfinished(path: Path) -> Path:
    """Return a hidden path beside `path` for what is not complete yet.

    Its name is random: processes in different containers can have the same number.
    """
    return path.with_name(f".{path.name}-{os.urandom(4).hex()}")


def require_new(output: Path, option: str = "--output") -> None:
    """Refuse a file that a command is to write if it exists, or its folder does not, before anything is computed.

    Args:
        option: that names it.

    Raises:
        InputError: it cannot be written without a loss, or not at all.
    """
    if os.path.lexists(output):  # also where a link leads to nothing
        raise InputError(f"{relative(output)} exists; remove it, or choose another name with {option} FILE")
    if not output.absolute().parent.is_dir():
        raise InputError(f"{option} {output}: the folder {output.parent} does not exist; create it first")


def flush(path: Path) -> None:
    """Flush a file or folder to disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Flush a folder to disk, with all that it contains."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            flush(path)
    flush(folder)


@contextlib.contextmanager
def appearing_folder(folder: Path) -> Iterator[Path]:
    """Make a folder that appears, complete and flushed, when the block ends; not at all if it raises.

    Yields:
        the folder to write to, under another name.

    Raises:
        InputError: it exists.
        DlpipeError: it cannot be written.
    """
    if os.path.lexists(folder):
        raise InputError(f"{relative(folder)} exists; remove it, or choose another folder with --output FOLDER")
    temporary = unfinished(folder)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        flush_folder(temporary)
        temporary.rename(folder)
    except OSError as error:
        raise DlpipeError(f"{relative(folder)} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
