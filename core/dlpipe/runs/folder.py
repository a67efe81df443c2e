"""The run folder: everything about one execution of a pipeline, readable without dlpipe."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import platform
import secrets
import shutil
import struct
import sys
import threading
import time
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import tomli_w

from dlpipe.config.pipeline import Pipeline
from dlpipe.config.source import dotted
from dlpipe.errors import DlpipeError, RunFolderError
from dlpipe.messages import relative, shell_path
from dlpipe.runs.atomic import link, locked
from dlpipe.runs.files import as_json, open_regular, open_text, read_json, read_text, require_contained, write_json
from dlpipe.runs.same_settings import is_of

#: The folder of all runs, unless --runs names another one.
RUNS = Path("runs")
PIPELINE, RESOLVED, PROVENANCE, STATUS = "pipeline.toml", "resolved.toml", "provenance.json", "status.json"
METRICS, DATA_STATE, ORIGINS, BASELINES = "metrics.jsonl", "data.json", "origins.json", "baselines.json"
LOG, LOCK, REPORT = "log.txt", ".lock", "report.html"
#: What an exported model says of itself; a folder that is used like a run, but has no status, has it too.
EXPORT = "export.json"
#: Of a stage: what evaluators found for each test example.
PREDICTIONS = "predictions.jsonl"
#: Of a stage: where evaluators write.
FIGURES, SAMPLES = "figures", "samples"
#: The entry of provenance with what is known of each stage that has begun; see `dlpipe.runs.files.StageRecord`.
STAGES = "stages"
#: The entry of provenance that says how the training of each stage ended.
ENDED = "ended"
#: The entry of provenance with the settings that were changed when the run was resumed.
CHANGED = "changed"
#: The states of a run that is not resumed unless its settings change, the best first.
ENDED_STATES = ("finished", "pruned")
#: The layout of ``struct flock``, the place of its ``l_type``, and the question whether a file is locked.
_FLOCK, _TYPE = ("qqihh", 3) if sys.platform == "darwin" else ("hhqqi4x", 0)
_QUESTION = [0, 0, 0, 0, 0]
_QUESTION[_TYPE] = fcntl.F_WRLCK
#: The folders that this process has locked, by device and inode.
_HELD: set[tuple[int, int]] = set()
#: Two threads of a process would both get a lock of the operating system.
_STARTING = threading.Lock()
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # without letters that look alike


class RunFolder:
    """The folder of one run.

    Args:
        writes: whether this process records the run; of several that train together, only one does.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path, self.writes = path, writes

    @classmethod
    @contextlib.contextmanager
    def create(cls, runs: Path, pipeline: Pipeline, provenance: Mapping[str, Any]) -> Iterator[RunFolder]:
        """Create the folder of a new run, complete and locked while entered: under a hidden name first, then renamed.

        If that fails, nothing is left. A process that is killed leaves a hidden folder, which is not a run.

        Args:
            runs: where runs are kept; the folder is ``<runs>/<name>/<time>-<four letters>``.
            provenance: what else decides the numbers of the run.

        Raises:
            RunFolderError: it cannot be written or locked.
        """
        parent = path = runs / pipeline.settings.name
        with contextlib.ExitStack() as held:
            try:
                path = new_folder(parent, ".")
                # Before others can see it: a process that looks for a run to resume would take it.
                held.enter_context(cls(path).lock())
                text = next(iter(pipeline.source.texts.values()), "")
                (path / PIPELINE).write_text(text, encoding="utf-8")
                for plugin in pipeline.local_plugins:
                    shutil.copy(plugin, path / plugin.name)
                (path / PROVENANCE).write_text(as_json(provenance), encoding="utf-8")
                status = {"state": "running", "time": time.time(), "pid": os.getpid()}
                (path / STATUS).write_text(as_json(status), encoding="utf-8")
                origins = {dotted(key): str(origin) for key, origin in pipeline.source.origins.items()}
                (path / ORIGINS).write_text(as_json(origins), encoding="utf-8")
                (path / RESOLVED).write_text(tomli_w.dumps(pipeline.plain()), encoding="utf-8")
                path = path.rename(parent / path.name[1:])
                set_latest(path)
            except (OSError, UnicodeEncodeError, DlpipeError) as error:
                held.close()
                if path != parent:
                    shutil.rmtree(path, ignore_errors=True)
                if isinstance(error, UnicodeEncodeError):
                    raise RunFolderError(
                        f"a file or folder of this run has a name that is not UTF-8 text: {error}; rename it"
                    ) from error
                if isinstance(error, OSError):
                    raise RunFolderError(
                        f"{relative(path)} could not be created: {error.strerror}; choose another place with --runs DIR"
                    ) from error
                raise
            yield cls(path)

    @staticmethod
    @contextlib.contextmanager
    def starting(runs: Path, pipeline: Pipeline) -> Iterator[None]:
        """Look for an unfinished run of a pipeline and, if there is none, create one, while no other process does.

        Raises:
            RunFolderError: the folder of all runs cannot be written or locked.
        """
        with contextlib.ExitStack() as held:
            held.enter_context(_STARTING)
            try:
                runs.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(runs / LOCK, byte_of(pipeline)))
            except PermissionError:  # somebody else's file: what two users start at once are two runs
                pass
            except OSError as error:
                raise RunFolderError(
                    f"{relative(runs / LOCK)} cannot be locked: {error.strerror}; choose another place with --runs DIR"
                ) from error
            yield

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open the folder of an earlier run; `path` itself may be a link, such as ``latest``.

        Raises:
            RunFolderError: it is not a run folder, or something in it leads out of it (see `dlpipe.runs.files`).
        """
        if not path.is_dir():
            raise RunFolderError(f"{path}: there is no such run folder{neighbors(path)}")
        if not (path / RESOLVED).is_file():
            raise RunFolderError.missing(path, RESOLVED)
        require_contained(path.resolve())
        return cls(path.resolve())

    @staticmethod
    def path_of(name: str, runs: Path = RUNS) -> Path:
        """Return the path that a person means: a path or, if there is none, a name in `runs` such as ``cnn-digits``."""
        path, named = Path(name), runs / name
        return named if not path.exists() and ".." not in path.parts and named.is_dir() else path

    @staticmethod
    def latest_in(path: Path) -> Path:
        """Return the latest run of a pipeline if `path` is the folder of its runs, such as ``runs/cnn-digits``."""
        return path / "latest" if not (path / RESOLVED).exists() and (path / "latest").is_dir() else path

    def command(self, name: str) -> str:
        """Return the command line that does `name` to this run, with the permission that its local plugins need."""
        return f"dlpipe {name} {shell_path(self.path)}{self.permission}"

    @property
    def permission(self) -> str:
        """The option that allows its local plugins, after a space; empty if it has none."""
        return " --allow-local-plugins" if any(self.path.glob("*.py")) else ""

    def discard(self, unlock: Callable[[], None] = lambda: None) -> None:
        """Remove the folder of a run; ``latest`` points to the newest other one again.

        If there is none, the folder of the pipeline's runs is removed too, if it is empty.

        Args:
            unlock: called when nobody finds the run any more. NFS does not remove a folder with a file that is open.

        Raises:
            OSError: it cannot be removed.
        """
        if not self.writes:
            return
        hidden = self.path.with_name(f".{self.path.name}")  # a process that is killed here leaves no half of a run
        self.path.rename(hidden)
        unlock()
        shutil.rmtree(hidden)
        latest = self.path.parent / "latest"
        others = [path.parent for path in self.path.parent.glob(f"[!.]*/{RESOLVED}") if path.parent != latest]
        if others:
            set_latest(newest_first(others)[0])
        else:
            with contextlib.suppress(OSError):  # what else is there stays
                latest.unlink(missing_ok=True)
                self.path.parent.rmdir()

    def resolved(self) -> dict[str, Any]:
        """Return the tables of the resolved pipeline, of which each says which component it is for.

        Raises:
            RunFolderError: the file cannot be read, or is not a resolved pipeline.
        """
        path = self.path / RESOLVED
        try:
            tables = tomllib.loads(read_text(path))
        except tomllib.TOMLDecodeError as error:
            raise RunFolderError(f"{relative(path)} cannot be read: {error}; restore it") from error
        if mistake := _mistake_in(tables):
            raise RunFolderError(f"{relative(path)}: {mistake}, as dlpipe writes it; restore the file")
        return tables

    def stage(self, name: str) -> Path:
        """Return the folder of a stage: the run's own where the pipeline has no ``[stages]``."""
        return self.path / "stages" / name if name else self.path

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock this folder against all other processes.

        The operating system holds the lock, on an open file: it is released however the process ends. The
        content of the file is for people.

        Raises:
            RunFolderError: another process works on this run; its host and process id are named.
            DlpipeError: the folder cannot be written.
        """
        if not self.writes:
            yield
            return
        path = self.path / LOCK
        if self._is_held():  # the operating system would give it to this process again
            raise RunFolderError(f"{relative(self.path)} is in use by this process; wait for it to end")
        try:
            opened = open_text(path, "a+")
        except OSError as error:
            raise DlpipeError(f"{relative(path)} cannot be written: {error.strerror}") from error
        with opened as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise RunFolderError(f"{relative(path)} cannot be locked: {error.strerror}") from error
                owner = self.owner() or "another process"
                raise RunFolderError(f"{relative(self.path)} is in use by {owner}; wait for it to end") from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            status = self.path.stat()  # which stays, also if the folder gets another name
            _HELD.add((status.st_dev, status.st_ino))
            try:
                yield
            finally:
                _HELD.discard((status.st_dev, status.st_ino))

    def _is_held(self) -> bool:
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) in _HELD

    def is_locked(self) -> bool:
        """Return whether a process holds the lock; it is asked for, not tried, so that nobody is disturbed."""
        if self._is_held():  # POSIX would release a lock of this process when the file is closed below
            return True
        try:
            descriptor = open_regular(self.path / LOCK)
        except (OSError, RunFolderError):
            return False
        try:
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, *_QUESTION))
        except OSError:  # a file system without locks
            return False
        finally:
            os.close(descriptor)
        return bool(struct.unpack(_FLOCK, answer)[_TYPE] != fcntl.F_UNLCK)

    def owner(self) -> str:
        """Return ``process 4711 on host``: who holds the lock, or held it last; an empty string if that is unknown."""
        with contextlib.suppress(OSError, DlpipeError, UnicodeDecodeError), open_text(self.path / LOCK) as file:
            return file.read(200).strip()
        return ""

    @classmethod
    def unfinished(cls, runs: Path, pipeline: Pipeline) -> RunFolder | None:
        """Return the newest run of the same resolved pipeline that has not ended for good, or None.

        Runs with ``--fast`` do not count, nor do those that began with other settings. One that cannot be used is left
        out with a warning. A key that an earlier version of dlpipe did not have is no other setting if it has its
        default now.
        """
        for path in cls.paths(runs, pipeline):
            try:
                if is_of(read_text(path / RESOLVED), pipeline) and not began_otherwise(path):
                    run = cls.open(path)
                    if run.status()["state"] not in ENDED_STATES:
                        return run
            except RunFolderError as error:
                warnings.warn(f"{error}; this run is left out", stacklevel=2)
        return None

    @staticmethod
    def paths(runs: Path, pipeline: Pipeline) -> Iterator[Path]:
        """Yield the folders of the runs of a pipeline, the newest first; they may be damaged."""
        found = [path.parent for path in (runs / pipeline.settings.name).glob(f"[!.]*/{RESOLVED}")]
        yield from newest_first(path for path in found if not path.is_symlink() and (path / STATUS).is_file())

    def record(self, file: Path, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Replace the content of a JSON file of the run by what `change` makes of it; {} if there is no such file."""
        if self.writes:
            write_json(file, change(read_json(file) if file.exists() else {}))

    def record_stage(self, name: str, known: Mapping[str, Any]) -> None:
        """Record that a stage begins, after those recorded before, and what is known of it; see `STAGES`."""
        self.record(
            self.path / PROVENANCE,
            lambda recorded: (
                recorded
                | {STAGES: {key: each for key, each in recorded.get(STAGES, {}).items() if key != name} | {name: known}}
            ),
        )

    def status(self) -> dict[str, Any]:
        """Return the outcome of the run: ``state`` and, at its end, ``reason``.

        Raises:
            RunFolderError: it cannot be read, or this is an export, which has none.
        """
        if not (self.path / STATUS).exists() and (self.path / EXPORT).is_file():
            run = read_json(self.path / EXPORT)["run"]
            raise RunFolderError(
                f"{relative(self.path)} is an export of the run {run}: it has the weights for predict, evaluate and "
                f"serve, but neither the state of the trainer nor metrics; use the run itself"
            )
        return read_json(self.path / STATUS)

    def set_status(self, state: str, **details: Any) -> None:
        """Record that the run is "running", "finished", "failed", "interrupted", "preempted" or "pruned".

        ``seconds`` is how long it has been running before, in all its processes.
        """
        if not self.writes:
            return
        now, seconds = time.time(), 0.0
        with contextlib.suppress(RunFolderError):  # a damaged file is replaced
            before = self.status()
            seconds = before.get("seconds", 0.0)
            if before["state"] == "running" and state != "running":
                seconds += max(now - before.get("time", now), 0.0)
        ended = {"time": now, "pid": os.getpid(), "seconds": round(seconds, 3)}
        write_json(self.path / STATUS, {"state": state, **details, **ended})


def neighbors(path: Path, runs: Path = RUNS) -> str:
    """Return ``; there are a, b`` for a path that leads to nothing: folders with similar names there, or the last ones.

    Args:
        runs: a path from the working directory may also be a name in this folder.
    """
    folder = next((parent for parent in path.parents if parent.is_dir()), Path())
    folders = (folder, runs) if folder == Path() else (folder,)
    names = [entry.name for each in folders for entry in sorted(each.glob("[!.]*")) if entry.is_dir()]
    similar = get_close_matches(path.relative_to(folder).parts[0], names) or names[-3:]
    return f"; there are {', '.join(similar)}" if similar else ""


def started(path: Path) -> float:
    """Return when a run began, in seconds since 1970; if it cannot be read, when its folder was last changed.

    The name of the folder has the local time of the machine, which differs between time zones and repeats an hour at
    the end of daylight saving time.
    """
    with contextlib.suppress(DlpipeError, KeyError, TypeError, ValueError, OverflowError):
        return datetime.fromisoformat(read_json(path / PROVENANCE)["time"]).timestamp()
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """Return the folders of runs in the order in which they began, the newest first."""
    return sorted(paths, key=lambda path: (started(path), path.name), reverse=True)


def set_latest(path: Path) -> None:
    """Let ``latest`` beside a run, or a sweep, point to it; a warning says if that is not possible."""
    latest = path.with_name("latest")
    try:
        link(latest, path.name)
    except OSError as error:  # such as a folder, which a copy without links has there
        advice = "; remove it" if latest.is_dir() and not latest.is_symlink() else ""
        warnings.warn(f"{relative(latest)} could not be set to {path.name}: {error.strerror}{advice}", stacklevel=2)


def _mistake_in(tables: Mapping[str, Any]) -> str:
    """Return what a resolved pipeline lacks, or an empty string."""
    if not isinstance(tables.get("name"), str):
        return "expected a name"
    stages = tables.get("stages", {"": tables})
    if not isinstance(stages, dict) or not stages:
        return "expected the tables of at least one stage in [stages]"
    for name, stage in stages.items():
        at = ("stages", name) if name else ()
        if not isinstance(stage, dict):
            return f"expected a table [{dotted(at)}]"
        wanted: dict[tuple[str, ...], Any] = {("data",): stage.get("data"), ("trainer",): stage.get("trainer")}
        wanted |= {("model",): stage["model"]} if "model" in stage else {}
        for group in ("evaluators", "callbacks"):
            named = stage.get(group, {})
            of_group = named if isinstance(named, dict) else {"…": named}
            wanted |= {(group, key): table for key, table in of_group.items()}
        for place, table in wanted.items():
            if not isinstance(table, dict) or not isinstance(table.get("use"), str):
                return f'expected a table [{dotted((*at, *place))}] with use = "…"'
    return ""


def began_otherwise(path: Path) -> bool:
    """Return whether a run did not begin with its ``resolved.toml`` alone: with ``--fast``, or with other settings."""
    recorded = read_json(path / PROVENANCE)
    return bool(recorded.get("fast") or recorded.get(CHANGED))


def byte_of(pipeline: Pipeline) -> int:
    """Return the byte of a file of locks that stands for a resolved pipeline."""
    return int.from_bytes(hashlib.sha256(tomli_w.dumps(pipeline.plain()).encode()).digest()[:7], "big")


def new_folder(parent: Path, prefix: str = "") -> Path:
    """Create a folder named by `prefix`, the time and four letters; concurrent processes get different ones."""
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        letters = "".join(secrets.choice(_LETTERS) for _ in range(4))
        path = parent / f"{prefix}{time.strftime('%Y-%m-%d_%H%M%S')}-{letters}"
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
