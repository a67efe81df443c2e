"""What there is below a folder of runs: the state, score and progress of each, without torch.

Of the metrics only the end is read, if that has the score on the test split; otherwise the lines of the dev split.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

from dlpipe.errors import DlpipeError, InputError
from dlpipe.messages import relative
from dlpipe.runs.files import open_regular, read_json
from dlpipe.runs.folder import (
    LOCK,
    LOG,
    METRICS,
    PROVENANCE,
    RESOLVED,
    STAGES,
    STATUS,
    RunFolder,
    newest_first,
    started,
)
from dlpipe.runs.score import Score, score_so_far

#: The states of a run. "stale": recorded as running, but its process has died. "damaged": its status cannot be read.
STATES = ("running", "finished", "pruned", "failed", "preempted", "interrupted", "stale", "damaged")
#: Seconds after which a run of another host that writes nothing is stale, where its lock cannot tell.
SILENCE = 3600.0
#: Bytes at the end of the metrics that are read first, and the lines of them that are looked at: the test split is
#: evaluated last.
TAIL, LAST_LINES = 2**14, 3


@dataclass(frozen=True)
class RunSummary:
    """One run in a list.

    Args:
        fast: whether it ran with ``--fast``.
        reason: why it ended, where it did not finish.
        stage: the last one that has begun; empty where the pipeline has none. Metric, score and steps are its own.
        metric: on test or, before that, the monitored one on dev.
        score: on test or, before that, the best so far on dev; None where there is none.
        total_steps: None if only time ends the run.
        started, updated: seconds since 1970; `updated` is when the run last wrote something.
        seconds: that it has run, in all its processes.
    """

    path: Path
    state: str
    fast: bool = False
    reason: str = ""
    stage: str = ""
    metric: str = ""
    score: float | None = None
    step: int = 0
    total_steps: int | None = None
    epoch: float | None = None
    started: float = 0.0
    updated: float = 0.0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The name of the pipeline and of the folder."""
        return "/".join(self.path.parts[-2:])


def run_folders(runs: Path, name: str = "*") -> list[Path]:
    """Return the folders of all runs below `runs`, the newest first.

    Args:
        name: a pattern such as ``digits*``, for the name of the pipeline or for ``<name>/<folder>``.

    Raises:
        InputError: there is no such folder.
    """
    if not runs.is_dir():
        raise InputError(f"{relative(runs)}: there is no such folder; expected one with runs: --runs DIR")
    found = [
        path.parent
        for path in runs.glob(f"*/[!.]*/{RESOLVED}")
        if not path.parent.is_symlink()
        and (fnmatchcase(path.parts[-3], name) or fnmatchcase("/".join(path.parts[-3:-1]), name))
    ]
    return newest_first(found)


def summarize(path: Path) -> RunSummary:
    """Return what is known of a run; one whose files cannot be read is "damaged", and `reason` says why."""
    folder = RunFolder(path)
    try:
        status, recorded = folder.status(), read_json(path / PROVENANCE)
    except DlpipeError as error:
        return RunSummary(path, "damaged", reason=str(error), updated=_modified(path))
    stages: Mapping[str, Any] = recorded.get(STAGES, {})
    stage = list(stages)[-1] if stages else ""
    known, metrics = stages.get(stage, {}), folder.stage(stage) / METRICS
    updated = max(map(_modified, (path / STATUS, path / LOG, metrics)))
    state = _state(folder, status, recorded, updated)
    lines = _Lines(metrics)
    seconds, began = status.get("seconds", 0.0), status.get("time", updated)
    if status["state"] == "running":
        seconds += max((time.time() if state == "running" else updated) - began, 0.0)
    score = lines.score(known)
    return RunSummary(
        path,
        state,
        fast=bool(recorded.get("fast")),
        reason=status.get("reason", ""),
        stage=stage,
        metric=score.metric,
        score=score.value,
        step=lines.step,
        total_steps=known.get("total_steps"),
        epoch=lines.epoch,
        started=started(path),
        updated=updated,
        seconds=round(seconds, 3),
    )


def summaries(runs: Path, name: str = "*", states: Collection[str] = (), last: int | None = None) -> list[RunSummary]:
    """Return what is known of the runs below `runs`, the newest first.

    Args:
        name: see `run_folders`.
        states: those of `STATES` that are wanted; all if none is given.
        last: at most this many.

    Raises:
        InputError: there is no such folder.
    """
    found = (summarize(path) for path in run_folders(runs, name))
    return list(islice((run for run in found if not states or run.state in states), last))


def _state(folder: RunFolder, status: Mapping[str, Any], recorded: Mapping[str, Any], updated: float) -> str:
    """Return the state of a run; "running" only if its process lives, as far as that can be known here."""
    if status["state"] != "running":
        return str(status["state"])
    if folder.is_locked():
        return "running"
    if (folder.path / LOCK).exists():
        host = folder.owner().rpartition(" on ")[2]
    else:  # a copy without hidden files
        host = recorded.get("machine", {}).get("host", "")
    # Some file systems do not show the locks of other hosts.
    return "running" if host != platform.node() and time.time() - updated < SILENCE else "stale"


def _modified(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


class _Lines:
    """The lines of a ``metrics.jsonl``: its end and, only where they are needed, those of the dev split."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = list(_records(self._read(TAIL).splitlines()[-LAST_LINES:], b"{"))
        self.step = int(max((record.get("step") or 0 for record in self._last), default=0))
        self.epoch = max((record["epoch"] for record in self._last if record.get("epoch") is not None), default=None)

    def score(self, known: Mapping[str, Any]) -> Score:
        """Return the score of the run so far."""
        score = score_so_far(known, self._last)
        if score.metric.startswith("test/"):
            return score
        return score_so_far(known, list(_records(self._read(None).splitlines(), b'"dev/')))

    def _read(self, most: int | None) -> bytes:
        """Return the last `most` bytes of the file, from the start of a line; None for all."""
        try:
            with os.fdopen(open_regular(self._path), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if most is None or size <= most:
                    return file.read()
                file.seek(size - most)
                return file.read().partition(b"\n")[2]
        except (OSError, DlpipeError):
            return b""


def _records(lines: Sequence[bytes], mark: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects in the lines with `mark`; half a line, which a killed process leaves, is none."""
    for line in lines:
        if mark in line:
            with contextlib.suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict):
                    yield {name: value for name, value in record.items() if _is_finite(value)}


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and -math.inf < value < math.inf
