"""What the numbers of a run depend on, recorded when it starts."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from dlpipe.config.pipeline import Pipeline
from dlpipe.registry.loading import Registry
from dlpipe.runs.git_state import git_state


def provenance(pipeline: Pipeline, registry: Registry) -> dict[str, Any]:
    """Return versions, machine, seeds, command and git state of a run that is about to start."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "seed": pipeline.settings.seed,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("dlpipe", "torch", "numpy", "safetensors")},
        },
        "plugins": {plugin.namespace: plugin.distribution for plugin in registry.plugins if plugin.status == "ok"},
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "gpus": gpus,
            "cuda": torch.version.cuda if gpus else None,
            "cudnn": torch.backends.cudnn.version() if gpus else None,
        },
        "code": code_digests(pipeline),
        "git": git_state(Path.cwd()),
    }


def code_digests(pipeline: Pipeline) -> dict[str, str]:
    """Return a sha256 over the Python files of dlpipe and of each package whose components the pipeline uses.

    Versions do not distinguish two states of an editable installation, and the git state changes with
    every line of a pipeline file.
    """
    modules = {"dlpipe": "dlpipe"}
    for stage in pipeline.stages.values():
        used = [stage.data, stage.trainer, *stage.evaluators.values(), *stage.callbacks.values()]
        for use in [*used, *([stage.model] if stage.model else [])]:
            modules[use.component.namespace] = use.component.spec.target.partition(":")[0].partition(".")[0]
    return {name: package_digest(module) for name, module in sorted(modules.items()) if name != "core"}


@cache
def package_digest(module: str) -> str:
    """Return a sha256 over all Python files of a package, or of a single module."""
    spec = importlib.util.find_spec(module)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or []) if folder] if spec else []
    files = [path for folder in folders for path in folder.rglob("*.py")]
    if spec and not folders and spec.origin:
        files = [Path(spec.origin)]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
