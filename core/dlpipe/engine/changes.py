"""What has changed since a run began: its tables, code, versions, files and data."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dlpipe.compute import configure_torch
from dlpipe.config.pipeline import Pipeline, Stage
from dlpipe.errors import RunFolderError
from dlpipe.messages import relative
from dlpipe.runs.checkpoint import Checkpoints
from dlpipe.runs.files import read_json
from dlpipe.runs.folder import CHANGED, DATA_STATE, ENDED, PIPELINE, PROVENANCE, RESOLVED, RunFolder
from dlpipe.runs.identity import content_name, differences, identity, in_current_form, start_names

#: The entries of provenance that changes are found by, and those that record what was accepted, or changed on purpose.
IDENTITY, PIPELINE_DIGEST, ACCEPTED = "identity", "pipeline_sha256", "accepted_changes"


def run_identity(pipeline: Pipeline, begun: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Set up torch for a run, and return what decides its result, apart from the content of its data.

    Args:
        begun: what `begun_with` returns, if the run is resumed.
    """
    return identity(pipeline, pipeline.stages.values(), configure_torch(pipeline.settings).device, begun=begun)


def begun_with(pipeline: Pipeline, folder: RunFolder) -> dict[str, Any]:
    """Return the recorded digests of the weights that stages with a checkpoint started from.

    Such a stage continues with the weights of its checkpoint, also if its start has changed or is gone.
    """
    recorded = read_json(folder.path / PROVENANCE).get(IDENTITY)
    if not isinstance(recorded, dict):
        return {}
    stages = [
        stage
        for stage in pipeline.stages.values()
        if start_names(stage) and Checkpoints(folder.stage(stage.name) / "checkpoints").latest()
    ]
    names = [name for stage in stages for name in start_names(stage)]
    return {name: recorded[name] for name in names if name in recorded}


def changes_since(
    pipeline: Pipeline,
    folder: RunFolder,
    now: dict[str, Any],
    stages: Iterable[Stage],
    fingerprint_of: Callable[[Stage], str],
) -> list[str]:
    """Say what has changed since a run began, one sentence for each change.

    Args:
        now: the identity of a run that would start now.
        stages: those whose data must be what it was, if they have begun.
        fingerprint_of: returns the fingerprint of their data now.

    Raises:
        RunFolderError: the record of what the run began with is missing or damaged.
    """
    recorded = read_json(folder.path / PROVENANCE)
    then, now = recorded.get(IDENTITY), dict(now)
    if not isinstance(then, dict):
        raise RunFolderError(
            f"{relative(folder.path / PROVENANCE)} does not say what the run began with; start a new run"
        )
    then = in_current_form(pipeline, then, now)
    for stage in stages:
        path = folder.stage(stage.name) / DATA_STATE
        if path.is_file():
            then[content_name(stage)] = read_json(path).get("fingerprint")
            now[content_name(stage)] = fingerprint_of(stage)
    changes = differences(then, now)
    if recorded.get(PIPELINE_DIGEST) != pipeline_digest(folder.path):
        changes.append(f"{PIPELINE} was edited, which has no effect: a run is resumed from its {RESOLVED}")
    return changes


def record_accepted(folder: RunFolder, changes: list[str], **entries: Any) -> None:
    """Add changes that the user accepted to the provenance of a run, and set other entries.

    What followed the training of a stage is done again with what has changed.
    """
    entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "changes": changes}

    def with_changes(recorded: Mapping[str, Any]) -> Mapping[str, Any]:
        ended = {stage: {**end} for stage, end in recorded.get(ENDED, {}).items()}
        for end in ended.values():
            end.pop("tested", None)
        return {**recorded, **entries, ENDED: ended, ACCEPTED: [*recorded.get(ACCEPTED, []), entry]}

    folder.record(folder.path / PROVENANCE, with_changes)


def accepted_changes(folder: RunFolder) -> list[Any]:
    """Return what was changed or accepted when a run was resumed; its result is not one for others."""
    recorded = read_json(folder.path / PROVENANCE)
    return [*recorded.get(ACCEPTED, []), *recorded.get(CHANGED, [])]


def pipeline_digest(folder: Path) -> str | None:
    """Return the sha256 of a run's copy of the pipeline file, or None if it has none."""
    path = folder / PIPELINE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
