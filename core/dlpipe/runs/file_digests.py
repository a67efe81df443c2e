"""Digests of files by their content, fast the second time: a manifest in the user's cache remembers what was read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dlpipe.progress import activity
from dlpipe.runs.file_manifest import FileManifest, file_state

BLOCK = 4096


def file_digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the sha256 of the content of each file.

    A file is not read again if its size, its times of modification and of change, and its inode are those of the
    last time. The manifest that tells is a cache: without it, or if it is damaged, all files are read.

    Args:
        paths: of files, in any number; those of one data set belong together, since they share a manifest.

    Raises:
        OSError: a file cannot be read.
    """
    files = {path: str(path.absolute()) for path in paths}
    if not files:
        return {}
    root = os.path.commonpath(files.values())
    manifest = FileManifest("digests", root)

    def entry(name: str) -> tuple[list[int], str]:
        path = Path(name)
        state = file_state(path)
        return state, manifest.known(os.path.relpath(name, root), state) or sha256_of(path)

    names = sorted(set(files.values()))
    entries: dict[str, tuple[list[int], str]] = {}
    # Reading and hashing release the GIL.
    with ThreadPoolExecutor(os.cpu_count()) as pool, activity("comparing files", len(names)) as shown:
        for start in range(0, len(names), BLOCK):
            block = names[start : start + BLOCK]
            entries |= zip(block, pool.map(entry, block), strict=True)
            shown.done += len(block)
    manifest.keep({os.path.relpath(name, root): each for name, each in entries.items()})
    return {path: entries[name][1] for path, name in files.items()}


def sha256_of(path: Path) -> str:
    """Return the sha256 of the content of a file, which is read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
