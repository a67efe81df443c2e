"""The best trial of a sweep as a pipeline file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from dlpipe.config.pipeline import Pipeline
from dlpipe.config.source import SET, Origin, Source, assign, key_path, set_path
from dlpipe.errors import PipelineError
from dlpipe.sweep.plan import by_depth
from dlpipe.sweep.planned import Trial

BEST = "best.toml"


def write_best(
    folder: Path,
    original: Path | None,
    trial: Trial,
    assignments: Iterable[str],
    load: Callable[[Path], Pipeline],
    remark: str,
) -> Path:
    """Write a pipeline file that extends the original one, if there is one, and sets the values of a trial.

    Where there is none, or that would not be the trial, since an axis replaces a table that a file can only add to, the
    file has all tables of the trial instead, and its local plugins lie beside it.

    Args:
        assignments: those of ``--set`` that the sweep was given.
        load: reads a pipeline file.
        remark: the first line of the file.
    """
    path, pipeline = folder / BEST, trial.pipeline
    if original is None:
        _write_all(path, remark, pipeline)
        return path
    source = Source()
    assign(source, assignments)
    for key, value in sorted(trial.values.items(), key=by_depth):
        set_path(source, key_path(key), value, Origin(SET))
    extends = {"extends": os.path.relpath(original.resolve(), folder.resolve())}
    _write(path, remark, extends | source.values)
    try:
        same = load(path).plain() == pipeline.plain()
    except PipelineError:
        same = False
    if not same:
        _write_all(path, remark, pipeline)
    return path


def _write_all(path: Path, remark: str, pipeline: Pipeline) -> None:
    for plugin in pipeline.local_plugins:
        shutil.copy(plugin, path.with_name(plugin.name))
    _write(path, remark, pipeline.plain())


def _write(path: Path, remark: str, values: Mapping[str, Any]) -> None:
    path.write_text(f"# {remark}\n{tomli_w.dumps(values)}", encoding="utf-8")
