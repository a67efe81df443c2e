"""Digests of files by their content, fast the second time: a manifest in the user's cache remembers what was read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

#: A file that changed less than this before it was read may change again without another time of change: file systems
#: count time in steps of up to 2 s (FAT). Such a file is read again the next time.
SETTLED_NS = 2_000_000_000
BLOCK = 4096


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of downloads and manifests: ``DLPIPE_CACHE`` if set, else a folder in the user's cache.

    Args:
        environ: environment variables; those of the process if not given.
    """
    environ = os.environ if environ is None else environ
    if "DLPIPE_CACHE" in environ:
        return Path(environ["DLPIPE_CACHE"])
    home = Path.home()
    default = home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
    return Path(environ.get("XDG_CACHE_HOME") or default) / "dlpipe"


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
    manifest = _manifest(root)
    known = _known(manifest)
    names = sorted(set(files.values()))
    entries: dict[str, list[Any]] = {}
    started = time.time_ns()
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # reading and hashing release the GIL
        for start in range(0, len(names), BLOCK):
            block = names[start : start + BLOCK]
            states = pool.map(lambda name: _entry(Path(name), known.get(os.path.relpath(name, root))), block)
            entries |= zip(block, states, strict=True)
    settled = {
        os.path.relpath(name, root): entry
        for name, entry in entries.items()
        if max(entry[1], entry[2]) < started - SETTLED_NS
    }
    if manifest and settled != known:
        _remember(manifest, settled)
    return {path: str(entries[name][-1]) for path, name in files.items()}


def _entry(path: Path, known: Any) -> list[Any]:
    """Return what identifies the state of a file, and the digest of its content."""
    status = path.stat()
    # The time of change too: tools that copy, and people, can set the time of modification.
    state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    if isinstance(known, list) and known[:-1] == state and isinstance(known[-1], str):
        return known
    with path.open("rb") as file:
        return [*state, hashlib.file_digest(file, "sha256").hexdigest()]


def _manifest(root: str) -> Path | None:
    """Return the manifest of the files below `root`; None without a home folder."""
    with contextlib.suppress(RuntimeError):
        return cache_folder() / "digests" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.json"
    return None


def _known(manifest: Path | None) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads(manifest.read_text(encoding="utf-8")) if manifest else {}
        return content if isinstance(content, dict) else {}
    return {}


def _remember(manifest: Path, entries: Mapping[str, Any]) -> None:
    temporary = manifest.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError, ValueError):  # ValueError: a name that is not UTF-8
        manifest.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(entries), encoding="utf-8")
        temporary.replace(manifest)
