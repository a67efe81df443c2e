"""Reusing a stage whose inputs did not change, and saying why another is run.

What decides the result of a stage is recorded as its *ingredients* when it is done: its identity (see
`dlpipe.runs.identity`) and the content of its data. A stage with equal ingredients has an equal result.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlpipe.errors import RunFolderError
from dlpipe.json_text import to_json
from dlpipe.messages import relative
from dlpipe.runs.atomic import flush, flush_folder
from dlpipe.runs.files import read_json, require_contained, write_json
from dlpipe.runs.folder import newest_first
from dlpipe.runs.identity import differences

STAGE = "stage.json"


def finish(folder: Path, content: Mapping[str, Any]) -> None:
    """Record that a stage is done, and its ingredients."""
    write_json(folder / STAGE, {"ingredients": dict(content)})


def is_finished(folder: Path) -> bool:
    """Return whether a stage is done."""
    return (folder / STAGE).is_file()


def reopen(folder: Path) -> None:
    """Make a stage unfinished, so that its work continues.

    One that an earlier version of dlpipe took from another run by links gets files of its own. Checkpoints stay
    linked: they are replaced, and never written into.
    """
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.relative_to(folder).parts[0] != "checkpoints" and path.is_file() and path.stat().st_nlink > 1:
            copy = path.with_name(f".{path.name}.own")
            shutil.copy2(path, copy)
            copy.replace(path)
    (folder / STAGE).unlink(missing_ok=True)


def find_same(runs: Path, this_run: Path, stage: str, wanted: Mapping[str, Any]) -> tuple[Path | None, str]:
    """Look for a finished stage with the same ingredients among the runs of a pipeline.

    Args:
        runs: the folder of all runs of the pipeline.
        this_run: the one that asks.

    Returns:
        its folder or None, and the reason in words.
    """
    done = [folder for folder in _finished(runs, stage) if folder.parents[1] != this_run]
    if not done:
        return None, "it has never been finished before"
    plain = json.loads(to_json(wanted))  # as it will be read back
    for folder in done:
        if _ingredients(folder) == plain:
            return folder, f"nothing has changed since {relative(folder)}"
    known = _ingredients(done[0])
    if known is None:
        return None, f"{relative(done[0] / STAGE)} does not say what it began with"
    return None, "; ".join(differences(known, plain))


def _ingredients(folder: Path) -> dict[str, Any] | None:
    """Return what a finished stage depended on, or None if its record is damaged."""
    try:
        return dict(read_json(folder / STAGE)["ingredients"])
    except (RunFolderError, KeyError):
        return None


def reuse_stage(found: Path, folder: Path) -> None:
    """Make `folder` a copy of a finished stage: it appears when it is complete.

    Checkpoints are hard links where possible: they are replaced, and never written into.

    Raises:
        RunFolderError: something in the stage leads out of it.
    """
    require_contained(found)
    checkpoints, new = found / "checkpoints", _new(folder)

    def copied(source: str, target: str) -> None:
        if checkpoints in Path(source).parents:
            with contextlib.suppress(OSError):  # another disk
                Path(target).hardlink_to(source)
                return
        shutil.copy2(source, target)

    new.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(found, new, symlinks=True, copy_function=copied)
    flush_folder(new)
    new.rename(folder)
    flush(folder.parent)


def discard_incomplete(folder: Path) -> None:
    """Remove what `reuse_stage` leaves if its process is killed."""
    shutil.rmtree(_new(folder), ignore_errors=True)


def _new(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}-new")


def _finished(runs: Path, stage: str) -> list[Path]:
    """Return the finished stages of that name, those of the newest run first."""
    found = [path.parents[2] for path in runs.glob(f"*/stages/{stage}/{STAGE}")]
    return [run / "stages" / stage for run in newest_first(run for run in found if not run.is_symlink())]
