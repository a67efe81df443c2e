"""Which runs can be deleted without a loss, and deleting them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dlpipe.errors import DlpipeError, RunFolderError
from dlpipe.messages import relative
from dlpipe.runs.files import read_text
from dlpipe.runs.folder import RESOLVED, RunFolder
from dlpipe.runs.listing import RunSummary

#: Why a run can be deleted, in the order in which the reasons are tried.
REASONS = {
    "fast": "ran with --fast",
    "no-checkpoint": "ended without a checkpoint",
    "superseded": "did not finish, but a later run of the same pipeline did",
    "leftover": "left by a process that was killed while it created or deleted a run",
}
#: Seconds after which a hidden folder is no longer one that a process is about to rename.
CREATING = 3600.0
_UNFINISHED = ("failed", "preempted", "interrupted", "stale")


@dataclass(frozen=True)
class Removal:
    """A run that can be deleted.

    Args:
        reason: a key of `REASONS`.
        run: None for a leftover, which is none.
        size: its bytes, a file with several names in it once.
    """

    path: Path
    reason: str
    run: RunSummary | None
    updated: float
    size: int


def removable(
    runs: Path,
    summaries: Sequence[RunSummary],
    name: str = "*",
    *,
    only: Collection[str] = (),
    older_than: float | None = None,
) -> list[Removal]:
    """Return what can be deleted below `runs`.

    Never a run that is running or damaged, that is finished and the latest of its pipeline, that the ``resolved.toml``
    of another run refers to, or that is in the table of a sweep.

    Args:
        summaries: of all runs below `runs`.
        name: see `dlpipe.runs.listing.run_folders`.
        only: the reasons that count; all of `REASONS` if none is given.
        older_than: seconds since it was last written, at least.
    """
    now = time.time()
    return [
        removal
        for removal in _removable(runs, summaries, name)
        if (not only or removal.reason in only) and (older_than is None or now - removal.updated >= older_than)
    ]


def _removable(runs: Path, summaries: Sequence[RunSummary], name: str) -> list[Removal]:
    kept = _referred_to(summaries) | _in_sweeps(runs) | _latest(summaries)
    finished = _finished(summaries)
    found = []
    for run in summaries:
        reason = _reason(run, finished)
        if reason and run.name not in kept and (fnmatchcase(run.path.parts[-2], name) or fnmatchcase(run.name, name)):
            found.append(Removal(run.path, reason, run, run.updated, size_of([run.path])))
    for path in runs.glob("*/.*-*-*_*-????"):
        hidden, modified = path.is_dir() and not path.is_symlink(), path.lstat().st_mtime
        if hidden and time.time() - modified > CREATING and fnmatchcase(path.parts[-2], name):
            found.append(Removal(path, "leftover", None, modified, size_of([path])))
    return found


def remove(removal: Removal) -> None:
    """Delete a run, unless it has changed since.

    Raises:
        RunFolderError: a process works on it, or it has been resumed meanwhile.
        DlpipeError, OSError: it cannot be deleted.
    """
    if removal.run is None:
        shutil.rmtree(removal.path)
        return
    folder = RunFolder(removal.path)
    with contextlib.ExitStack() as locked:
        locked.enter_context(folder.lock())
        state = folder.status()["state"]
        if state != removal.run.state and (state, removal.run.state) != ("running", "stale"):
            raise RunFolderError(f"{relative(removal.path)} is {state} now; it was {removal.run.state} before")
        folder.discard(locked.close)


def size_of(paths: Iterable[Path], *, freed: bool = False) -> int:
    """Return the bytes in folders; a file with several names counts once.

    Args:
        freed: leave out files that have a name elsewhere, too: deleting the folders does not free them.
    """
    names: Counter[tuple[int, int]] = Counter()
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    for path in paths:
        for entry in _files(path):
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                key = status.st_dev, status.st_ino
                names[key] += 1
                sizes[key] = status.st_size, status.st_nlink
    return sum(size for key, (size, links) in sizes.items() if not freed or names[key] == links)


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError, PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry


def _reason(run: RunSummary, finished: Mapping[tuple[str, str], float]) -> str:
    if run.state in ("running", "damaged"):
        return ""
    if run.fast:
        return "fast"
    if run.state in _UNFINISHED:
        if not any(True for place in ("", "stages/*/") for _ in run.path.glob(f"{place}checkpoints/step-*")):
            return "no-checkpoint"
        if finished.get(_pipeline(run), run.started) > run.started:
            return "superseded"
    return ""


def _finished(summaries: Sequence[RunSummary]) -> dict[tuple[str, str], float]:
    """Return when the newest finished run of each pipeline began; fast runs do not count."""
    found: dict[tuple[str, str], float] = {}
    for run in summaries:
        if run.state == "finished" and not run.fast:
            found[_pipeline(run)] = max(run.started, found.get(_pipeline(run), run.started))
    return found


def _pipeline(run: RunSummary) -> tuple[str, str]:
    return run.path.parent.name, _resolved(run.path)


def _resolved(path: Path) -> str:
    try:
        return read_text(path / RESOLVED)
    except DlpipeError:
        return ""


def _latest(summaries: Sequence[RunSummary]) -> set[str]:
    """Return the finished runs that ``latest`` points to."""
    links = {parent: parent / "latest" for parent in {run.path.parent for run in summaries}}
    targets = {parent: os.path.realpath(link) for parent, link in links.items()}
    return {
        run.name
        for run in summaries
        if run.state == "finished" and os.path.realpath(run.path) == targets[run.path.parent]
    }


def _referred_to(summaries: Sequence[RunSummary]) -> set[str]:
    """Return the runs that others start from, by name, as the folder of all runs may have been moved since."""
    found: set[str] = set()
    for run in summaries:
        text = _resolved(run.path)
        if "run = " in text:
            with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError):
                found |= set(_references(tomllib.loads(text)))
    return found


def _references(value: Any) -> Iterator[str]:
    """Yield ``<name>/<folder>`` of each ``{ run = "…" }`` in a table."""
    if isinstance(value, dict) and isinstance(value.get("run"), str):
        yield _name(value["run"])
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _references(part)


def _in_sweeps(runs: Path) -> set[str]:
    """Return the runs in the tables of sweeps."""
    found: set[str] = set()
    for path in runs.glob("*/sweeps/*/table.json"):
        with contextlib.suppress(DlpipeError, ValueError, RecursionError):
            found |= set(_references(json.loads(read_text(path))))
    return found


def _name(folder: str) -> str:
    return "/".join(Path(folder).parts[-2:])
