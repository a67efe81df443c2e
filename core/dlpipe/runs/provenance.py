"""What the numbers of a run depend on, recorded when it starts."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from dlpipe.config.pipeline import Pipeline
from dlpipe.registry.loading import Registry
from dlpipe.runs.code_digests import CORE_DISTRIBUTIONS, distribution_version
from dlpipe.runs.git_state import git_state


def provenance(pipeline: Pipeline, registry: Registry) -> dict[str, Any]:
    """Return versions, machine, seed, command and git state of a run that is about to start."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "seed": pipeline.settings.seed,
        "threads": torch.get_num_threads(),
        "openmp": {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "GOMP_", "KMP_"))},
        "versions": {
            "python": platform.python_version(),
            **{name: distribution_version(name) for name in CORE_DISTRIBUTIONS},
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
        "pipeline_sha256": hashlib.sha256(next(iter(pipeline.source.texts.values()), "").encode()).hexdigest(),
        "git": git_state(Path.cwd()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
