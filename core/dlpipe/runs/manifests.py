"""What the names and the manifests of checkpoints say, without torch: which steps there are, and which is the best."""

from __future__ import annotations

import contextlib
from pathlib import Path

from dlpipe.errors import RunFolderError
from dlpipe.runs.files import CHECKPOINT, read_json

MANIFEST = "manifest.json"


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of the complete checkpoints in a folder, ascending."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(int(match[1]) for path in folder.iterdir() if (match := CHECKPOINT.fullmatch(path.name)))
    return []


def best_step(folder: Path, last: int | None = None) -> int | None:
    """Return the step of the checkpoint in a folder that is marked as the best one, or None.

    This reads the manifests, not the link: a process can be killed between the rename and the link.

    Args:
        last: consider only checkpoints of this step and earlier ones.
    """
    steps = [step for step in saved_steps(folder) if last is None or step <= last]
    return next((step for step in reversed(steps) if says_best(checkpoint_path(folder, step))), None)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the place of the checkpoint of a step."""
    return folder / f"step-{step:08d}"


def says_best(checkpoint: Path) -> bool | None:
    """Return whether a checkpoint was the best one when it was saved; None if its manifest cannot be read."""
    try:
        return bool(read_json(checkpoint / MANIFEST)["best"])
    except RunFolderError:
        return None
