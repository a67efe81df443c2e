"""What was read from files and is remembered in the user's cache until they change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlpipe.runs.atomic import unfinished

#: A file that changed less than this before it was read may change again without another time of change: file systems
#: count time in steps of up to 2 s (FAT). Such a file is read again the next time.
SETTLED_NS = 2_000_000_000


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


def file_state(path: Path) -> list[int]:
    """Return what changes with the content of a file: its size, times of modification and of change, and inode.

    Raises:
        OSError: there is no such file.
    """
    status = path.stat()
    # The time of change too: tools that copy, and people, can set the time of modification.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


class FileManifest:
    """What was read from each file of a data set, by the name of the file; a cache, and never more than that.

    A manifest that is missing, damaged or of another version knows nothing; one that cannot be written is not.

    Args:
        kind: what is remembered, a folder in `cache_folder`.
        owner: which manifest of this kind it is, such as the folder of the files and how they are read.
    """

    def __init__(self, kind: str, owner: str) -> None:
        self._opened = time.time_ns()
        self._path: Path | None = None
        with contextlib.suppress(RuntimeError):  # no home folder
            name = hashlib.sha256(os.fsencode(owner)).hexdigest()[:32]
            self._path = cache_folder() / kind / f"{name}.json"
        self._entries = self._read()

    def known(self, name: str, state: Sequence[Any]) -> Any:
        """Return what was read from a file; None if it is not known, or `state` (JSON) is another than at that time."""
        then, value = self._entries.get(name, (None, None))
        return value if then == list(state) else None

    def keep(self, entries: Mapping[str, tuple[Sequence[Any], Any]]) -> None:
        """Replace all entries by (state, what was read) by name; files that have only just changed are left out."""
        settled = {
            name: [list(state), value]
            for name, (state, value) in entries.items()
            if all(moment < self._opened - SETTLED_NS for moment in state[1:3])
        }
        if self._path is None or settled == self._entries:
            return
        temporary = unfinished(self._path)
        with contextlib.suppress(OSError, ValueError):  # ValueError: a name that is not UTF-8
            content = json.dumps(settled).encode()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(_digest(content) + content)
            temporary.replace(self._path)
            self._entries = settled

    def _read(self) -> dict[str, list[Any]]:
        with contextlib.suppress(OSError):
            content = self._path.read_bytes() if self._path else b""
            size = len(_digest(b""))
            if content[:size] == _digest(content[size:]):
                return json.loads(content[size:])  # type: ignore[no-any-return]
        return {}


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode() + b"\n"
