"""Exporting a trained run as a folder that dlpipe uses like a run: its weights, and nothing of its training.

The folder has the layout of a run: the resolved pipeline, what the data learned, and one checkpoint with the weights
alone. Stages and other runs that the exported stage builds upon are in it, too.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w
import torch
from torch import nn

from dlpipe.config.pipeline import Pipeline, Reference, Stage
from dlpipe.engine.inference import TrainedStage, open_reference, open_run
from dlpipe.errors import DlpipeError
from dlpipe.json_text import to_json
from dlpipe.runs.atomic import appearing_folder
from dlpipe.runs.checkpoint import copy_weights, step_of
from dlpipe.runs.files import read_json, write_json
from dlpipe.runs.folder import DATA_STATE, EXPORT, RESOLVED, RunFolder

#: Where the runs that an exported one builds upon are, by number.
OTHERS = "runs"


def export_folder(trained: TrainedStage, folder: Path) -> int:
    """Export a trained stage to a new folder, and return its size in bytes.

    It is opened again, as in another process, and its weights are compared with those of the run.

    Args:
        folder: must not exist; it appears when the export has been checked, or not at all.

    Raises:
        InputError: the folder exists.
        DlpipeError: it cannot be written, or is not the same when it is opened.
    """
    with appearing_folder(folder) as temporary:
        _write(trained, temporary)
        allowed = [temporary / plugin.name for plugin in trained.pipeline.local_plugins]
        opened = open_run(temporary, allow_local_plugins=allowed or False)
        if different := _different(trained.model, opened.model):
            raise DlpipeError(f"the exported model is not that of the run: {different} differs. Nothing was exported")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _write(trained: TrainedStage, folder: Path) -> None:
    """Write a trained stage, and what it builds upon, to an empty folder."""
    pipeline, run = trained.pipeline, RunFolder(trained.run)
    stages = _needed(pipeline, trained.stage)
    tables = {stage.name: _without_callbacks(stage.plain()) for stage in stages}
    others: list[Reference] = []
    for stage in stages:
        opened = trained if stage is trained.stage else open_reference(pipeline, run, Reference(stage=stage.name))
        place = RunFolder(folder).stage(stage.name)
        copy_weights(opened.checkpoint, place / "checkpoints")
        write_json(place / DATA_STATE, read_json(opened.folder / DATA_STATE))
        others += [each for each in stage.references() if each.run is not None and each not in others]
    for number, reference in enumerate(others, start=1):
        other = folder / OTHERS / str(number)
        other.mkdir(parents=True)
        _write(open_reference(pipeline, run, reference), other)
        tables = _replaced(tables, reference.plain(), {"run": f"./{OTHERS}/{number}"})
    top: dict[str, Any] = pipeline.plain() | {"device": "auto"}  # it may be used on another machine
    for name in ("stages", *trained.stage.plain()):
        top.pop(name, None)
    content = top | tables.get("", {"stages": tables})
    (folder / RESOLVED).write_text(tomli_w.dumps(content), encoding="utf-8")
    for plugin in pipeline.local_plugins:
        shutil.copy(plugin, folder / plugin.name)
    (folder / EXPORT).write_text(to_json(_description(trained), indent=1, ensure_ascii=False), encoding="utf-8")


def _needed(pipeline: Pipeline, stage: Stage) -> list[Stage]:
    """Return a stage and all earlier ones that it builds upon, in the order of the pipeline."""
    names, pending = {stage.name}, [stage]
    while pending:
        for reference in pending.pop().references():
            if reference.run is None and reference.stage not in names:
                names.add(reference.stage)
                pending.append(pipeline.stages[reference.stage])
    return [each for name, each in pipeline.stages.items() if name in names]


def _without_callbacks(tables: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of a stage without callbacks, which observe training and may need more packages."""
    return {name: table for name, table in tables.items() if name != "callbacks"}


def _replaced(value: Any, old: Any, new: Any) -> Any:
    """Return a value of TOML in which one table stands for another, at any depth."""
    if value == old:
        return new
    if isinstance(value, dict):
        return {key: _replaced(part, old, new) for key, part in value.items()}
    return [_replaced(part, old, new) for part in value] if isinstance(value, list) else value


def _description(trained: TrainedStage) -> dict[str, Any]:
    return {
        "format": "dlpipe",
        "run": trained.run.name,
        "pipeline": trained.pipeline.settings.name,
        "stage": trained.stage.name,
        "checkpoint": step_of(trained.checkpoint),
        "versions": {name: metadata.version(name) for name in ("dlpipe", "torch")} | {"python": sys.version.split()[0]},
    }


def _different(model: nn.Module, other: nn.Module) -> str:
    """Return the name of the first weight in which two models differ, or an empty string."""
    own, found = model.state_dict(), other.state_dict()
    names: Iterator[str] = (
        name
        for name in own.keys() | found.keys()
        if name not in own or name not in found or not torch.equal(own[name].cpu(), found[name].cpu())
    )
    return min(names, default="")
