"""Reusing a stage whose inputs did not change, and saying why another is run.

What a stage depends on is recorded as its *ingredients* when it is done: its tables (callbacks
included, since one can end a run), the seed, the fingerprint of its data, the stages and runs it starts
from, and the versions of the plugins it uses. A stage with equal ingredients has an equal result.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dlpipe.config.pipeline import Pipeline, Stage
from dlpipe.messages import relative
from dlpipe.runs.files import read_json, require_contained, write_json

STAGE = "stage.json"


def ingredients(pipeline: Pipeline, stage: Stage, fingerprint: str, sources: Mapping[str, str]) -> dict[str, Any]:
    """Return what the result of a stage depends on, by names a person can read.

    Args:
        fingerprint: of its data.
        sources: what each trained model that it starts from is, by a string that changes with it.
    """
    settings = pipeline.settings
    used = [stage.data, stage.trainer, *stage.evaluators.values(), *([stage.model] if stage.model else [])]
    return {
        **dict(_leaves(stage.plain(), "")),
        "seed": settings.seed,
        "precision": settings.precision,
        "deterministic": settings.deterministic,
        "the content of the data": fingerprint,
        **{f"the model of {name}": source for name, source in sources.items()},
        **{f"plugin {use.component.namespace}": use.component.distribution for use in used},
    }


def finish(folder: Path, content: Mapping[str, Any]) -> None:
    """Record that a stage is done, and its ingredients."""
    write_json(folder / STAGE, {"ingredients": dict(content)})


def is_finished(folder: Path) -> bool:
    """Return whether a stage is done."""
    return (folder / STAGE).is_file()


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
    plain = json.loads(json.dumps(dict(wanted)))  # as it will be read back
    for folder in done:
        known = read_json(folder / STAGE)["ingredients"]
        if known == plain:
            return folder, f"nothing has changed since {relative(folder)}"
    known = read_json(done[0] / STAGE)["ingredients"]
    changes = [
        f"{name} was {known.get(name, 'not set')}, is now {plain.get(name, 'not set')}"
        for name in {**known, **plain}
        if known.get(name) != plain.get(name)
    ]
    return None, "; ".join(changes)


def reuse_stage(found: Path, folder: Path) -> None:
    """Make `folder` a copy of a finished stage, by hard links where possible.

    Raises:
        RunFolderError: something in the stage leads out of it.
    """
    require_contained(found)

    def linked(source: str, target: str) -> None:
        try:
            Path(target).hardlink_to(source)
        except OSError:  # another disk
            shutil.copy2(source, target)

    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(found, folder, symlinks=True, copy_function=linked)


def _finished(runs: Path, stage: str) -> list[Path]:
    """Return the finished stages of that name, the newest first."""
    found = [path.parent for path in runs.glob(f"*/stages/{stage}/{STAGE}") if path.parts[-4] != "latest"]
    return sorted(found, key=lambda folder: (folder / STAGE).stat().st_mtime, reverse=True)


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
