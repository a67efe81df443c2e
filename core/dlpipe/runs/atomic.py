"""Atomic file operations, and the error for a disk that cannot be written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dlpipe.errors import DlpipeError
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


def flush(path: Path) -> None:
    """Flush a file or folder to disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Create a folder for a component to write into; remove it if nothing was written.

    Raises:
        DlpipeError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise DlpipeError(f"{relative(folder)} cannot be written: {error.strerror or error}") from error
