"""What must not go half-way with files, and what to say when the disk refuses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dlpipe.errors import DlpipeError
from dlpipe.messages import relative


def link(path: Path, target: str) -> None:
    """Make `path` a link to `target` in one step, whatever it was before."""
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
    """Have the system write a file or folder to the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Make a folder for a component to write into; where it wrote nothing, none is left.

    Raises:
        DlpipeError: the disk does not take it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise DlpipeError(f"{relative(folder)} cannot be written: {error.strerror or error}") from error
